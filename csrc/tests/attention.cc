// Attention, forward and backward, against plain loops in float64: on every ISA of this CPU, under
// each part of its rule, with blocks that are whole and cut, on several threads.
#include "kernels/attention/attention.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <vector>

#include "base/cpu.h"
#include "base/philox.h"
#include "base/random_words.h"
#include "base/thread_pool.h"
#include "tests/check.h"
#include "tests/smoke.h"

using namespace tilework;

namespace {

struct Setting {
  const char* name;
  AttentionShape shape;
  bool bias = false;
  double softcap = 0;
  int64_t diagonal = 0, left = kFarAway, right = kFarAway;
  double p = 0;
};

const Setting kSettings[] = {
    {"one", {1, 1, 1, 1, 1, 1, 1}},
    {"plain", {2, 2, 2, 70, 130, 9, 5}},
    {"grouped", {1, 4, 2, 33, 65, 8, 8}},
    {"one query", {2, 2, 2, 1, 700, 16, 16}},
    {"few queries", {2, 6, 2, 3, 1100, 9, 5}},
    {"few queries, causal", {1, 5, 1, 7, 600, 8, 80}, false, 0, 590, kFarAway, 0},
    {"few queries, window", {1, 2, 2, 2, 1300, 33, 17}, false, 0, 1200, 600, 0},
    {"few queries, bias", {1, 2, 1, 4, 530, 8, 8}, true},
    {"few queries, dropout", {1, 2, 2, 2, 600, 8, 8}, false, 0, 0, kFarAway, kFarAway, 0.25},
    {"long", {1, 1, 1, 80, 1100, 16, 16}},
    {"causal", {1, 2, 2, 130, 130, 8, 8}, false, 0, 0, kFarAway, 0},
    {"causal, long", {1, 1, 1, 600, 600, 8, 8}, false, 0, 0, kFarAway, 0},
    {"bottom right", {1, 1, 1, 20, 150, 8, 8}, false, 0, 130, kFarAway, 0},
    {"window", {1, 1, 1, 70, 300, 8, 8}, false, 0, 0, 3, 2},
    {"bias", {1, 2, 1, 70, 130, 8, 8}, true},
    {"soft-cap", {1, 1, 1, 20, 30, 8, 8}, false, 1.5},
    {"dropout", {1, 2, 2, 20, 31, 8, 8}, false, 0, 0, kFarAway, kFarAway, 0.25},
    {"no keys", {1, 1, 1, 3, 0, 8, 8}},
};

// One head's weights and their gradients, as the definition has them.
template <class T>
class Definition {
 public:
  Definition(const Setting& setting, const std::vector<T>& bias, int64_t head, const T* q,
             const T* k, const T* v, const T* grad)
      : s_(setting.shape), weight_(s_.queries * s_.keys), kept_(weight_), chain_(weight_) {
    const double scale = 1 / std::sqrt(static_cast<double>(s_.width));
    for (int64_t i = 0; i < s_.queries; ++i) {
      double sum = 0;
      for (int64_t j = 0; j < s_.keys; ++j) {
        double score = scale * dot(q + i * s_.width, k + j * s_.width, s_.width);
        chain_[at(i, j)] = scale;
        if (setting.softcap != 0) {
          const double t = std::tanh(score / setting.softcap);
          score = setting.softcap * t;
          chain_[at(i, j)] *= 1 - t * t;
        }
        const int64_t away = j - i - setting.diagonal;
        const double added = setting.bias ? static_cast<double>(bias[at(i, j)]) : 0;
        const bool seen = -setting.left <= away && away <= setting.right && added > -1e300;
        weight_[at(i, j)] = seen ? std::exp(score + added) : 0;
        sum += weight_[at(i, j)];
      }
      for (int64_t j = 0; j < s_.keys; ++j) {
        if (sum > 0) weight_[at(i, j)] /= sum;
        kept_[at(i, j)] = 1;
        if (setting.p == 0) continue;
        const auto place = static_cast<uint64_t>((head * s_.queries + i) * s_.keys + j);
        const uint32_t word = philox_word(1, 2, place);
        const auto threshold = static_cast<uint32_t>(dropout_threshold(setting.p));
        kept_[at(i, j)] = dropout_keeps(word, threshold) ? 1 / (1 - setting.p) : 0;
      }
    }
    const std::vector<double> dw = gradient_of_weights(v, grad);
    dscore_.resize(weight_.size());
    for (int64_t i = 0; i < s_.queries; ++i) {
      double sum = 0;
      for (int64_t j = 0; j < s_.keys; ++j) sum += weight_[at(i, j)] * dw[at(i, j)];
      for (int64_t j = 0; j < s_.keys; ++j)
        dscore_[at(i, j)] = weight_[at(i, j)] * (dw[at(i, j)] - sum) * chain_[at(i, j)];
    }
  }

  double used(int64_t i, int64_t j) const { return weight_[at(i, j)] * kept_[at(i, j)]; }
  double dscore(int64_t i, int64_t j) const { return dscore_[at(i, j)]; }

 private:
  int64_t at(int64_t i, int64_t j) const { return i * s_.keys + j; }
  static double dot(const T* x, const T* y, int64_t n) {
    double sum = 0;
    for (int64_t i = 0; i < n; ++i) sum += static_cast<double>(x[i]) * static_cast<double>(y[i]);
    return sum;
  }
  std::vector<double> gradient_of_weights(const T* v, const T* grad) const {
    std::vector<double> dw(weight_.size());
    for (int64_t i = 0; i < s_.queries; ++i)
      for (int64_t j = 0; j < s_.keys; ++j)
        dw[at(i, j)] = kept_[at(i, j)] *
                       dot(v + j * s_.value_width, grad + i * s_.value_width, s_.value_width);
    return dw;
  }

  AttentionShape s_;
  std::vector<double> weight_, kept_, chain_, dscore_;
};

template <class T>
HeadRows<T> rows(std::vector<std::remove_const_t<T>>& x, int64_t heads, int64_t count,
                 int64_t width) {
  return {x.data(), heads * count * width, count * width, width};
}

template <class T>
void check_setting(const Setting& setting) {
  g_check = setting.name;
  const AttentionShape& s = setting.shape;
  const int64_t of_q = s.batch * s.heads * s.queries, of_k = s.batch * s.kv_heads * s.keys;
  auto q = values<T>(of_q * s.width), k = values<T>(of_k * s.width);
  auto v = values<T>(of_k * s.value_width), grad = values<T>(of_q * s.value_width);
  auto bias = values<T>(s.queries * s.keys);
  // A row that sees nothing, and keys that some do not.
  for (int64_t i = 0; i < s.queries * s.keys; ++i)
    if (i / std::max<int64_t>(s.keys, 1) == 1 || i % 7 == 3)
      bias[i] = -std::numeric_limits<T>::infinity();
  std::vector<T> out(of_q * s.value_width), log_sums(of_q), dq(q.size()), dk(k.size()),
      dv(v.size());
  ScoreRule<T> rule{.scale = static_cast<T>(1 / std::sqrt(static_cast<double>(s.width))),
                    .softcap = static_cast<T>(setting.softcap),
                    .slopes = nullptr,
                    .bias = {},
                    .diagonal = setting.diagonal,
                    .left = setting.left,
                    .right = setting.right};
  if (setting.bias) rule.bias = {bias.data(), 0, 0, s.keys, 1};
  const AttentionDropout dropout{setting.p, 1, 2};
  const HeadRows<const T> of[] = {rows<const T>(q, s.heads, s.queries, s.width),
                                  rows<const T>(k, s.kv_heads, s.keys, s.width),
                                  rows<const T>(v, s.kv_heads, s.keys, s.value_width)};
  attention_forward<T>({s, of[0], of[1], of[2], rule, dropout,
                        rows<T>(out, s.heads, s.queries, s.value_width), log_sums.data()});
  attention_backward<T>(
      {s, of[0], of[1], of[2], rows<const T>(out, s.heads, s.queries, s.value_width),
       rows<const T>(grad, s.heads, s.queries, s.value_width), rule, dropout, log_sums.data(),
       rows<T>(dq, s.heads, s.queries, s.width), rows<T>(dk, s.kv_heads, s.keys, s.width),
       rows<T>(dv, s.kv_heads, s.keys, s.value_width)});

  std::vector<double> want_dk(dk.size()), want_dv(dv.size());
  const int64_t group = s.heads / s.kv_heads;
  // Scores are of order ten, and so is what a weight's rounding counts.
  const double size = 10.0 * static_cast<double>(s.queries + s.keys + s.width);
  for (int64_t head = 0; head < s.batch * s.heads; ++head) {
    const int64_t kv = head / group, a = head * s.queries, b = kv * s.keys;
    const Definition<T> right(setting, bias, head, &q[a * s.width], k.data() + b * s.width,
                              v.data() + b * s.value_width, &grad[a * s.value_width]);
    for (int64_t i = 0; i < s.queries; ++i) {
      for (int64_t c = 0; c < s.value_width; ++c) {
        double sum = 0;
        for (int64_t j = 0; j < s.keys; ++j)
          sum += right.used(i, j) * static_cast<double>(v[(b + j) * s.value_width + c]);
        near(out[(a + i) * s.value_width + c], sum, size);
      }
      for (int64_t c = 0; c < s.width; ++c) {
        double sum = 0;
        for (int64_t j = 0; j < s.keys; ++j)
          sum += right.dscore(i, j) * static_cast<double>(k[(b + j) * s.width + c]);
        near(dq[(a + i) * s.width + c], sum, size);
      }
      for (int64_t j = 0; j < s.keys; ++j) {
        for (int64_t c = 0; c < s.width; ++c)
          want_dk[(b + j) * s.width + c] += right.dscore(i, j) * q[(a + i) * s.width + c];
        for (int64_t c = 0; c < s.value_width; ++c)
          want_dv[(b + j) * s.value_width + c] +=
              right.used(i, j) * grad[(a + i) * s.value_width + c];
      }
    }
  }
  for (size_t i = 0; i < dk.size(); ++i) near(dk[i], want_dk[i], size);
  for (size_t i = 0; i < dv.size(); ++i) near(dv[i], want_dv[i], size);
}

// Keys in pages that lie anyhow give the bits of keys in rows, and two calls at once those of each.
template <class T>
void check_pages() {
  g_check = "pages";
  constexpr int64_t kSize = 16, kCalls = 2;
  const AttentionShape shapes[kCalls] = {{1, 4, 2, 3, 1100, 9, 5}, {1, 4, 2, 20, 70, 9, 5}};
  std::vector<T> q[kCalls], k[kCalls], v[kCalls], page_k[kCalls], page_v[kCalls];
  std::vector<T> want[kCalls], found[kCalls], sums[kCalls];
  std::vector<int64_t> table[kCalls];
  std::vector<AttentionForward<T>> calls;
  for (int64_t c = 0; c < kCalls; ++c) {
    const AttentionShape& s = shapes[c];
    const int64_t pages = (s.keys + kSize - 1) / kSize, of_page = s.kv_heads * kSize;
    q[c] = values<T>(s.heads * s.queries * s.width);
    k[c] = values<T>(s.kv_heads * s.keys * s.width);
    v[c] = values<T>(s.kv_heads * s.keys * s.value_width);
    want[c].resize(s.heads * s.queries * s.value_width);
    found[c].resize(want[c].size());
    sums[c].resize(s.heads * s.queries);
    page_k[c].resize(pages * of_page * s.width);
    page_v[c].resize(pages * of_page * s.value_width);
    for (int64_t p = 0; p < pages; ++p) table[c].push_back(pages - 1 - p);
    for (int64_t h = 0; h < s.kv_heads; ++h)
      for (int64_t j = 0; j < s.keys; ++j) {
        const int64_t row = (table[c][j / kSize] * s.kv_heads + h) * kSize + j % kSize;
        std::copy_n(&k[c][(h * s.keys + j) * s.width], s.width, &page_k[c][row * s.width]);
        std::copy_n(&v[c][(h * s.keys + j) * s.value_width], s.value_width,
                    &page_v[c][row * s.value_width]);
      }
    const auto queries = rows<const T>(q[c], s.heads, s.queries, s.width);
    ScoreRule<T> rule;
    rule.scale = T(0.3), rule.diagonal = s.keys - s.queries, rule.right = 0;
    AttentionForward<T> call{.shape = s,
                             .q = queries,
                             .k = rows<const T>(k[c], s.kv_heads, s.keys, s.width),
                             .v = rows<const T>(v[c], s.kv_heads, s.keys, s.value_width),
                             .rule = rule,
                             .dropout = {},
                             .out = rows<T>(want[c], s.heads, s.queries, s.value_width),
                             .log_sums = sums[c].data(),
                             .pages = {}};
    attention_forward(call);
    call.k = rows<const T>(page_k[c], s.kv_heads, kSize, s.width);
    call.v = rows<const T>(page_v[c], s.kv_heads, kSize, s.value_width);
    call.out = rows<T>(found[c], s.heads, s.queries, s.value_width);
    call.pages = {table[c].data(), pages, kSize};
    calls.push_back(call);
  }
  attention_forward(calls.data(), kCalls);
  for (int64_t c = 0; c < kCalls; ++c) CHECK(want[c] == found[c]);
}

}  // namespace

int main() {
  set_num_threads(3);
  for (int i = 0; i <= static_cast<int>(cpu_info().best); ++i) {
    set_isa(isa_name(static_cast<Isa>(i)));
    for (const Setting& setting : kSettings) {
      check_setting<float>(setting);
      check_setting<double>(setting);
    }
    check_pages<float>();
    check_pages<double>();
  }
  std::printf("attention: ISAs up to %s\n", isa_name(cpu_info().best));
}
