#include "base/text_file.h"

#include <cstdio>
#include <cstdlib>
#include <memory>

namespace tilework {

std::vector<std::string> lines_of(const std::string& path) {
  std::vector<std::string> lines;
  const std::unique_ptr<std::FILE, int (*)(std::FILE*)> file(std::fopen(path.c_str(), "re"),
                                                             std::fclose);
  if (!file) return lines;
  std::string line;
  bool begun = false;
  for (int c; (c = std::fgetc(file.get())) != EOF; begun = c != '\n') {
    if (c != '\n') {
      line += static_cast<char>(c);
    } else {
      lines.push_back(line);
      line.clear();
    }
  }
  if (begun) lines.push_back(line);
  return lines;
}

std::vector<std::string> words_of(const std::string& line) {
  constexpr const char* kSpaces = " \t\r\n";
  std::vector<std::string> words;
  for (std::size_t at = line.find_first_not_of(kSpaces); at != std::string::npos;) {
    const std::size_t end = line.find_first_of(kSpaces, at);
    words.push_back(line.substr(at, end - at));
    at = line.find_first_not_of(kSpaces, end);
  }
  return words;
}

std::optional<double> number_of(const std::string& word) {
  char* end = nullptr;
  const double number = std::strtod(word.c_str(), &end);
  if (word.empty() || *end != '\0') return std::nullopt;
  return number;
}

}  // namespace tilework
