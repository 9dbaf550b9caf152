#include "cudasim/monitor.h"

#include <link.h>

#include <cstring>
#include <exception>
#include <string>
#include <utility>
#include <vector>

#include "cudasim/block.h"
#include "cudasim/launch.h"
#include "cudasim/lines.h"
#include "cudasim/memory.h"
#include "cudasim/traffic.h"

namespace tilework::cudasim {

namespace {

// Tables that the program holds: constants of a kernel. Nothing is loaded while kernels run.
bool is_constant(const void* p) {
  struct Search {
    uintptr_t address;
    bool found = false;
  } search{reinterpret_cast<uintptr_t>(p)};
  dl_iterate_phdr(
      [](dl_phdr_info* image, size_t, void* into) {
        auto* s = static_cast<Search*>(into);
        for (int i = 0; i < image->dlpi_phnum; ++i) {
          const auto& part = image->dlpi_phdr[i];
          const uintptr_t begin = image->dlpi_addr + part.p_vaddr;
          const bool holds = s->address >= begin && s->address < begin + part.p_memsz;
          if (part.p_type == PT_LOAD && holds) s->found = true;
        }
        return s->found ? 1 : 0;
      },
      &search);
  return search.found;
}

std::string what_of(const Access& access) {
  return std::string(access.atomic  ? "an atomic operation on "
                     : access.store ? "a store of "
                                    : "a load of ") +
         std::to_string(access.bytes) + " bytes";
}

bool reaches(Space space, Region::Kind kind) {
  return space == Space::any || (space == Space::global) == (kind == Region::Kind::global);
}

bool ordered(const Stamp& before, const Stamp& now) {
  if (before.block != now.block) return false;
  if (before.thread == now.thread || before.barrier != now.barrier) return true;
  return before.thread / kWarp == now.thread / kWarp && before.warp_barrier != now.warp_barrier;
}

class RaceCheck {
 public:
  RaceCheck(const Region& region, const Stamp& now, const Access& access)
      : region_(region), now_(now), access_(access) {}

  void touch(Cell& cell) const {
    check(cell.writer, true);
    if (access_.store) {
      check(cell.reader, false);
      check(cell.other_reader, false);
      cell.writer = now_;
      return;
    }
    // Of the threads that read since, two are enough: whoever writes next is one of them at most.
    if (cell.reader.block != now_.block || cell.reader.thread != now_.thread) {
      cell.other_reader = cell.reader;
    }
    cell.reader = now_;
  }

 private:
  void check(const Stamp& before, bool store) const {
    if (before.block <= first_block_of_launch() || (before.atomic && now_.atomic)) return;
    if (region_.kind == Region::Kind::shared && before.block != now_.block) return;
    if (ordered(before, now_)) return;
    fault("a race: " + what_of(access_) + ", which " + (store ? "a store" : "a load") + " at " +
              line_text(before.line) + " by thread " + std::to_string(before.thread) +
              (before.block == now_.block ? "" : " of another block") +
              " touched too, with nothing between them",
          line_text(now_.line));
  }

  const Region& region_;
  const Stamp& now_;
  const Access& access_;
};

// Two elements beside each other are two threads' own: cells of two bytes, and of one in an array
// that is touched by single bytes.
void make_cells(Region& region, size_t bytes_of_access) {
  if (region.cells.empty()) region.cells.resize((region.bytes + 1) / 2);
  if (bytes_of_access != 1 || region.cell_bytes == 1) return;
  region.cell_bytes = 1;
  std::vector<Cell> halves;
  halves.reserve(2 * region.cells.size());
  for (const Cell& cell : region.cells) halves.insert(halves.end(), 2, cell);
  region.cells = std::move(halves);
}

void look_for_races(Region& region, size_t offset, const Access& access, uint32_t line) {
  make_cells(region, access.bytes);
  const size_t cell_bytes = region.cell_bytes;
  const Thread& thread = this_thread();
  const Stamp now{block_number(),
                  barriers_passed(),
                  warp_barriers_passed(thread.warp),
                  static_cast<uint16_t>(thread.linear),
                  access.atomic,
                  line};
  const RaceCheck check(region, now, access);
  for (size_t i = offset / cell_bytes; i <= (offset + access.bytes - 1) / cell_bytes; ++i) {
    check.touch(region.cells[i]);
  }
}

void see_at(const Access& access, uint32_t line) {
  // First, since the host's allocator may have put them close behind an array.
  if (!access.store && is_argument(access.at)) return;
  Region* region = region_of(access.at);
  if (region == nullptr) {
    if (!access.store && is_constant(access.at)) return;
    fault(what_of(access) + " that are no memory of the device", line_text(line));
  }
  const size_t offset = static_cast<size_t>(static_cast<char*>(access.at) - region->begin);
  if (!region->holds(access.at, access.bytes)) {
    fault(what_of(access) + " at byte " + std::to_string(offset) + " of " +
              (region->kind == Region::Kind::shared ? "a shared" : "an") + " array of " +
              std::to_string(region->bytes),
          line_text(line));
  }
  if (!reaches(access.space, region->kind)) {
    fault(what_of(access) + " in " + (region->kind == Region::Kind::shared ? "shared" : "global") +
              " memory, by an instruction for the other",
          line_text(line));
  }
  const size_t alignment = access.alignment != 0 ? access.alignment : access.bytes;
  if (offset % alignment != 0) {
    fault(what_of(access) + " at byte " + std::to_string(offset) +
              " of an array: an access is aligned to its size",
          line_text(line));
  }
  if (settings().races) look_for_races(*region, offset, access, line);
  if (settings().traffic && access.counted) {
    count_traffic(line, *region, offset, static_cast<int>(access.bytes), access.store);
  }
}

void see_access(void* at, size_t bytes, bool store, void* return_address) {
  if (!inside_kernel() || this_thread().fiber.owns(at)) return;
  std::exception_ptr found;
  {
    const InSimulator inside;
    try {
      see_at({.at = at, .bytes = bytes, .store = store, .alignment = bytes > 16 ? 1 : bytes},
             line_number(reinterpret_cast<uintptr_t>(return_address)));
    } catch (...) {
      found = std::current_exception();
    }
  }
  // No exception may pass: the compiler takes these calls for ones that throw none.
  if (found != nullptr) end_thread(std::move(found));
}

}  // namespace

void see(const Access& access, Site at) {
  const InSimulator inside;
  if (this_thread().fiber.owns(access.at)) {
    if (access.space == Space::any) return;
    fault(what_of(access) + " in a thread's own memory, by an instruction for another", at);
  }
  see_at(access, line_number(at));
}

}  // namespace tilework::cudasim

// What -fsanitize=thread calls. The size that it names is that of the access; alignment is looked
// at here, so that one which the compiler knows to be short makes no difference.
#define TW_EXPORT extern "C" [[gnu::visibility("default")]]
#define TW_HOOKS(bytes)                                                          \
  TW_EXPORT void __tsan_read##bytes(void* p) {                                   \
    tilework::cudasim::see_access(p, bytes, false, __builtin_return_address(0)); \
  }                                                                              \
  TW_EXPORT void __tsan_write##bytes(void* p) {                                  \
    tilework::cudasim::see_access(p, bytes, true, __builtin_return_address(0));  \
  }                                                                              \
  TW_EXPORT void __tsan_unaligned_read##bytes(void* p) {                         \
    tilework::cudasim::see_access(p, bytes, false, __builtin_return_address(0)); \
  }                                                                              \
  TW_EXPORT void __tsan_unaligned_write##bytes(void* p) {                        \
    tilework::cudasim::see_access(p, bytes, true, __builtin_return_address(0));  \
  }
TW_HOOKS(1)
TW_HOOKS(2)
TW_HOOKS(4)
TW_HOOKS(8)
TW_HOOKS(16)
#undef TW_HOOKS
TW_EXPORT void __tsan_read_range(void* p, size_t bytes) {
  if (bytes > 0) {
    tilework::cudasim::see_access(p, bytes, false, __builtin_return_address(0));
  }
}
TW_EXPORT void __tsan_write_range(void* p, size_t bytes) {
  if (bytes > 0) tilework::cudasim::see_access(p, bytes, true, __builtin_return_address(0));
}
// clang's, in place of the functions that copy.
TW_EXPORT void* __tsan_memcpy(void* to, const void* from, size_t bytes) {
  if (bytes > 0) {
    void* const caller = __builtin_return_address(0);
    tilework::cudasim::see_access(const_cast<void*>(from), bytes, false, caller);
    tilework::cudasim::see_access(to, bytes, true, caller);
  }
  return std::memmove(to, from, bytes);
}
TW_EXPORT void* __tsan_memset(void* to, int value, size_t bytes) {
  if (bytes > 0) tilework::cudasim::see_access(to, bytes, true, __builtin_return_address(0));
  return std::memset(to, value, bytes);
}
TW_EXPORT void __tsan_init() {}
TW_EXPORT void __tsan_func_entry(void*) {}
TW_EXPORT void __tsan_func_exit() {}
TW_EXPORT void __tsan_vptr_update(void**, void*) {}
TW_EXPORT void __tsan_vptr_read(void**) {}
