// The system's small text files. By C's own streams: C++'s would add 0.8 MB to the extension, which
// has its standard library within.
#pragma once

#include <optional>
#include <string>
#include <vector>

namespace tilework {

// None where there is no such file.
std::vector<std::string> lines_of(const std::string& path);

// What stands between spaces.
std::vector<std::string> words_of(const std::string& line);

// None where the word is not a number as a whole.
std::optional<double> number_of(const std::string& word);

}  // namespace tilework
