#include "cudasim/memory.h"

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <map>
#include <new>
#include <string>

#include "base/shared_memory.h"
#include "cudasim/block.h"
#include "cudasim/launch.h"

namespace tilework::cudasim {
namespace {

constexpr size_t kAlignment = 256;  // cudaMalloc's
constexpr int kPoison = 0xFF;       // NaN in every floating type, -1 in every integer

// By their beginnings: the region of an address is the last that begins at or before it.
std::map<const char*, std::unique_ptr<Region>> regions;
Region* last_found;

struct Shared {
  Region* region;
  Site declared;
  size_t bytes;
};
std::vector<Shared> shared_arrays;
size_t shared_bytes, static_bytes;
Region* dynamic_region;

// As far as its alignment goes an access counts as this array's overrun.
size_t reach(size_t bytes) { return (bytes + kAlignment) / kAlignment * kAlignment; }

bool same(Site a, Site b) {
  return a.line == b.line && std::strcmp(a.file, b.file) == 0 &&
         std::strcmp(a.function, b.function) == 0;
}

Region* add_region(size_t bytes, Region::Kind kind, size_t window) {
  void* memory = nullptr;
#if defined(__SANITIZE_ADDRESS__)
  const size_t room = std::max<size_t>(bytes, 1);  // what lies behind is poisoned to the byte
#else
  const size_t room = reach(bytes);  // nothing of the host's lies where an overrun is looked for
#endif
  if (posix_memalign(&memory, kAlignment, room) != 0) throw std::bad_alloc();
  std::memset(memory, kPoison, bytes);
  auto region =
      std::make_unique<Region>(Region{static_cast<char*>(memory), bytes, kind, window, {}});
  Region* added = region.get();
  regions[added->begin] = std::move(region);
  return added;
}

void drop_region(Region* region) {
  if (last_found == region) last_found = nullptr;
  char* memory = region->begin;
  regions.erase(memory);
  std::free(memory);
}

Region* add_shared(size_t bytes, Site at) {
  const Architecture& card = settings().architecture;
  const size_t window = (shared_bytes + 15) / 16 * 16;
  shared_bytes = window + bytes;
  if (shared_bytes > card.shared) {
    fault("a block takes " + std::to_string(shared_bytes) + " bytes of shared memory, and " +
              card.name + " has " + std::to_string(card.shared),
          at);
  }
  return add_region(bytes, Region::Kind::shared, window);
}

Region& checked(const void* p, size_t bytes, const char* what) {
  Region* region = region_of(p);
  if (region == nullptr || !region->holds(p, bytes)) {
    throw Fault(std::string(what) + ": " + std::to_string(bytes) +
                " bytes are not an array of the device");
  }
  return *region;
}

}  // namespace

void* allocate(size_t bytes) { return add_region(bytes, Region::Kind::global, 0)->begin; }

void release(void* memory) {
  if (memory == nullptr) return;
  auto found = regions.find(static_cast<char*>(memory));
  if (found == regions.end()) throw Fault("release: this memory is not the device's");
  drop_region(found->second.get());
}

size_t allocated_bytes() {
  size_t sum = 0;
  for (const auto& [begin, region] : regions) {
    if (region->kind == Region::Kind::global) sum += region->bytes;
  }
  return sum;
}

void copy_in(void* device, const void* host, size_t bytes) {
  if (bytes == 0) return;
  checked(device, bytes, "copy_in");
  std::memcpy(device, host, bytes);
}

void copy_out(void* host, const void* device, size_t bytes) {
  if (bytes == 0) return;
  checked(device, bytes, "copy_out");
  std::memcpy(host, device, bytes);
}

Region* region_of(const void* p) {
  if (last_found != nullptr && last_found->holds(p, 1)) return last_found;
  auto after = regions.upper_bound(static_cast<const char*>(p));
  if (after == regions.begin()) return nullptr;
  Region* region = std::prev(after)->second.get();
  if (static_cast<const char*>(p) >= region->begin + reach(region->bytes)) return nullptr;
  if (region->holds(p, 1)) last_found = region;
  return region;
}

void begin_shared(size_t dynamic_bytes) {
  shared_bytes = static_bytes = 0;
  dynamic_region = nullptr;
  if (dynamic_bytes > 0) dynamic_region = add_shared(dynamic_bytes, Site::current());
}

void end_shared() {
  for (const Shared& array : shared_arrays) drop_region(array.region);
  shared_arrays.clear();
  if (dynamic_region != nullptr) drop_region(dynamic_region);
  dynamic_region = nullptr;
}

void* shared_array(size_t bytes, Site at) {
  const InSimulator inside;
  for (const Shared& known : shared_arrays) {
    if (same(known.declared, at) && known.bytes == bytes) return known.region->begin;
  }
  const Architecture& card = settings().architecture;
  static_bytes += bytes;
  if (static_bytes > card.static_shared) {
    fault("a block declares " + std::to_string(static_bytes) + " bytes of shared memory, and " +
              card.name + " allows " + std::to_string(card.static_shared) +
              " so: take the rest as dynamic shared memory",
          at);
  }
  const size_t dynamic = dynamic_region == nullptr ? 0 : dynamic_region->bytes;
  if (dynamic <= kDynamicSharedUnasked && static_bytes + dynamic > kSharedWithoutAsking) {
    fault("a block declares " + std::to_string(static_bytes) + " bytes of shared memory beside " +
              std::to_string(dynamic) + " dynamic ones: more than " +
              std::to_string(kSharedWithoutAsking) + ", which no launch has asked for",
          at);
  }
  shared_arrays.push_back({add_shared(bytes, at), at, bytes});
  return shared_arrays.back().region->begin;
}

void* dynamic_shared(Site at) {
  const InSimulator inside;
  if (dynamic_region == nullptr) {
    fault("dynamic shared memory is asked for, and the launch gives none", at);
  }
  return dynamic_region->begin;
}

}  // namespace tilework::cudasim
