#include "cudasim/lines.h"

#include <dlfcn.h>

#include <cstdio>
#include <memory>
#include <unordered_map>
#include <vector>

namespace tilework::cudasim {
namespace {

struct Line {
  uintptr_t address;  // or 0, and the text
  std::string text;
};
std::vector<Line> lines;
std::unordered_map<uintptr_t, uint32_t> by_address;
std::unordered_map<std::string, uint32_t> by_text;

std::string without_folders(const std::string& path) {
  return path.substr(path.find_last_of('/') + 1);
}

// binutils' addr2line, which comes with every compiler here; asked once a line, and only for what
// is shown.
std::string ask_addr2line(const char* file, uintptr_t offset) {
  char command[512];
  std::snprintf(command, sizeof command, "addr2line -e '%s' 0x%zx 2>/dev/null", file,
                static_cast<size_t>(offset));
  std::unique_ptr<FILE, int (*)(FILE*)> pipe(popen(command, "r"), pclose);
  char answer[512] = "";
  if (pipe == nullptr || std::fgets(answer, sizeof answer, pipe.get()) == nullptr) return "";
  std::string line = without_folders(answer);
  line = line.substr(0, line.find_first_of(" \n"));  // less "(discriminator 2)"
  return line.find('?') == std::string::npos ? line : "";
}

std::string text_of(uintptr_t address) {
  Dl_info where;
  if (dladdr(reinterpret_cast<void*>(address), &where) == 0) return "?";
  // The address returned to follows the call, and may be the next line's.
  const uintptr_t base = reinterpret_cast<uintptr_t>(where.dli_fbase);
  for (uintptr_t offset : {address - 1 - base, address - 1}) {  // position-independent, or not
    const std::string line = ask_addr2line(where.dli_fname, offset);
    if (!line.empty()) return line;
  }
  char plain[32];
  std::snprintf(plain, sizeof plain, "+0x%zx", static_cast<size_t>(address - 1 - base));
  return without_folders(where.dli_fname) + plain;
}

}  // namespace

uint32_t line_number(uintptr_t return_address) {
  const auto [at, added] =
      by_address.try_emplace(return_address, static_cast<uint32_t>(lines.size()));
  if (added) lines.push_back({return_address, ""});
  return at->second;
}

uint32_t line_number(Site at) {
  const auto [known, added] = by_text.try_emplace(line_of(at), static_cast<uint32_t>(lines.size()));
  if (added) lines.push_back({0, known->first});
  return known->second;
}

std::string line_text(uint32_t line) {
  Line& known = lines[line];
  if (known.text.empty()) known.text = text_of(known.address);
  return known.text;
}

std::string line_of(Site at) { return without_folders(at.file) + ":" + std::to_string(at.line); }

}  // namespace tilework::cudasim
