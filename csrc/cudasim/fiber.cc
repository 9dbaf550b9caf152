#include "cudasim/fiber.h"

#include <sys/mman.h>
#include <unistd.h>

#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <new>

#include "base/asan.h"

// Saves what a called function must keep, and the stack pointer, in *save; then takes up `load`.
extern "C" void tilework_cudasim_switch(void** save, void* load);

#if defined(__x86_64__)
asm(R"(
.text
.globl tilework_cudasim_switch
.type tilework_cudasim_switch, @function
tilework_cudasim_switch:
  pushq %rbp
  pushq %rbx
  pushq %r12
  pushq %r13
  pushq %r14
  pushq %r15
  movq %rsp, (%rdi)
  movq %rsi, %rsp
  popq %r15
  popq %r14
  popq %r13
  popq %r12
  popq %rbx
  popq %rbp
  ret
.size tilework_cudasim_switch, . - tilework_cudasim_switch
)");
namespace {
constexpr int kSaved = 6;  // words below the address to return to
}
#elif defined(__aarch64__)
asm(R"(
.text
.globl tilework_cudasim_switch
.type tilework_cudasim_switch, %function
tilework_cudasim_switch:
  stp x29, x30, [sp, #-160]!
  stp x19, x20, [sp, #16]
  stp x21, x22, [sp, #32]
  stp x23, x24, [sp, #48]
  stp x25, x26, [sp, #64]
  stp x27, x28, [sp, #80]
  stp d8, d9, [sp, #96]
  stp d10, d11, [sp, #112]
  stp d12, d13, [sp, #128]
  stp d14, d15, [sp, #144]
  mov x9, sp
  str x9, [x0]
  mov sp, x1
  ldp x19, x20, [sp, #16]
  ldp x21, x22, [sp, #32]
  ldp x23, x24, [sp, #48]
  ldp x25, x26, [sp, #64]
  ldp x27, x28, [sp, #80]
  ldp d8, d9, [sp, #96]
  ldp d10, d11, [sp, #112]
  ldp d12, d13, [sp, #128]
  ldp d14, d15, [sp, #144]
  ldp x29, x30, [sp], #160
  ret
.size tilework_cudasim_switch, . - tilework_cudasim_switch
)");
#else
#error "the simulator switches stacks on x86-64 and aarch64 alone"
#endif

namespace tilework::cudasim {
namespace {

// The fiber that resume() begins: a first switch jumps to begin_current, which takes no argument.
Fiber* starting;

size_t page_bytes() { return static_cast<size_t>(sysconf(_SC_PAGESIZE)); }

}  // namespace

Fiber::Fiber() {
  const size_t guard = page_bytes();
  void* mapped = mmap(nullptr, guard + kStackBytes, PROT_READ | PROT_WRITE,
                      MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (mapped == MAP_FAILED) throw std::bad_alloc();
  mprotect(mapped, guard, PROT_NONE);
  stack_ = static_cast<char*>(mapped) + guard;
}

Fiber::~Fiber() {
  const size_t guard = page_bytes();
  munmap(stack_ - guard, guard + kStackBytes);
}

void Fiber::begin(Fiber* fiber) {
  __sanitizer_finish_switch_fiber(nullptr, &fiber->outside_bottom_, &fiber->outside_bytes_);
  fiber->entry_(fiber->argument_);
  std::abort();  // an entry ends by finish()
}

void Fiber::start(void (*entry)(void*), void* argument) {
  entry_ = entry;
  argument_ = argument;
  ASAN_UNPOISON_MEMORY_REGION(stack_, kStackBytes);
  fake_stack_ = nullptr;
  void (*first)() = [] { begin(starting); };
  void** top = reinterpret_cast<void**>(stack_ + kStackBytes - 64);
#if defined(__x86_64__)
  *--top = nullptr;  // so that the stack stands as after a call: 8 below a multiple of 16
  *--top = reinterpret_cast<void*>(first);
  for (int i = 0; i < kSaved; ++i) *--top = nullptr;
#else
  top -= 20;
  std::memset(top, 0, 160);
  top[1] = reinterpret_cast<void*>(first);
#endif
  stack_pointer_ = top;
}

void Fiber::resume() {
  starting = this;
  __sanitizer_start_switch_fiber(&outside_fake_stack_, stack_, kStackBytes);
  tilework_cudasim_switch(&outside_, stack_pointer_);
  __sanitizer_finish_switch_fiber(outside_fake_stack_, nullptr, nullptr);
}

void Fiber::leave([[maybe_unused]] bool for_good) {
  __sanitizer_start_switch_fiber(for_good ? nullptr : &fake_stack_, outside_bottom_,
                                 outside_bytes_);
  tilework_cudasim_switch(&stack_pointer_, outside_);
  __sanitizer_finish_switch_fiber(fake_stack_, &outside_bottom_, &outside_bytes_);
}

void Fiber::suspend() { leave(false); }

void Fiber::finish() {
  leave(true);
  std::abort();  // nobody resumes what has finished
}

}  // namespace tilework::cudasim
