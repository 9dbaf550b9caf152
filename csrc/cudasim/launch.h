// Launches: how a kernel is run on the simulated device, and which device that is.
//
// Threads of a block are fibers of one thread of the host, and blocks run one after another, in an
// order that a seed decides: a kernel gives the same answer again from the same seed. Whatever
// CUDA leaves undefined is a Fault where it can be seen, and poison where it cannot: memory that
// nothing was written to reads as NaN, and as -1 in integers. docs/gpu.md says what this proves.
#pragma once

#include <stddef.h>
#include <stdint.h>

#include <tuple>
#include <type_traits>

#include "cudasim/vectors.h"

namespace tilework::cudasim {

// In which order threads run. Forward and reverse run each warp as far as it comes before the next
// one: a kernel that needs a barrier and has none goes wrong in one of the two. Random takes turns
// anywhere.
enum class Order { forward, reverse, random };

// What a card of an architecture allows a launch.
struct Architecture {
  const char* name;
  size_t static_shared, shared;  // bytes of a block: declared; in all
};
inline constexpr Architecture kSm80{"sm_80", 48 * 1024, 163 * 1024};
inline constexpr Architecture kSm89{"sm_89", 48 * 1024, 99 * 1024};
inline constexpr Architecture kSm90{"sm_90", 48 * 1024, 227 * 1024};
inline constexpr Architecture kSm100{"sm_100", 48 * 1024, 227 * 1024};

struct Settings {
  Order order = Order::random;
  uint64_t seed = 1;
  // The least of the cards that are served: sm_86 and sm_120 have as much as sm_89.
  Architecture architecture = kSm89;
  // Both need kernels that tell of each load and store (the CMake target `cudasim_kernels`):
  bool races = true;     // two threads at one place, nothing between them
  bool traffic = false;  // what each line costs of memory: traffic.h
};
Settings& settings();

struct Shape {
  dim3 grid, block;
  size_t dynamic_shared = 0;  // bytes
};

// Runs body(arguments), of `bytes`, in each thread of the grid. Throws the first Fault; what the
// kernel wrote until then stays.
void run(const char* kernel, const Shape& shape, void (*body)(void*), void* arguments,
         size_t bytes);

template <class... Parameters>
void launch(const char* name, void (*kernel)(Parameters...), const Shape& shape,
            std::type_identity_t<Parameters>... arguments) {
  using Call = std::tuple<void (*)(Parameters...), Parameters...>;
  Call call{kernel, arguments...};
  run(
      name, shape,
      [](void* p) {
        std::apply([](auto f, auto... given) { f(given...); }, *static_cast<Call*>(p));
      },
      &call, sizeof call);
}

}  // namespace tilework::cudasim
