// What a simulated kernel does wrong, told by kernel, line, block and thread.
#pragma once

#include <stdexcept>
#include <string>

namespace tilework::cudasim {

// Where the kernel stands: the default argument of everything that a kernel calls here. (As
// std::source_location, which clang 14 has not.)
struct Site {
  const char* file;
  const char* function;
  unsigned line;

  static constexpr Site current(const char* file = __builtin_FILE(),
                                const char* function = __builtin_FUNCTION(),
                                unsigned line = __builtin_LINE()) {
    return {file, function, line};
  }
};

struct Fault : std::runtime_error {
  using std::runtime_error::runtime_error;
};

std::string line_of(Site at);  // "file.cuh:42", without folders

// Throws a Fault that names the kernel that runs, and the thread.
[[noreturn]] void fault(const std::string& what, Site at);
[[noreturn]] void fault(const std::string& what, const std::string& line);

}  // namespace tilework::cudasim
