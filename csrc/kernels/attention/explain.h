// Which routine serves each pass, in which blocks, and why: what `tilework info attention` tells.
#pragma once

#include <algorithm>
#include <string>
#include <vector>

#include "kernels/attention/decode.h"
#include "kernels/attention/setting.h"

namespace tilework::attention {

struct Service {
  std::string pass, routine, blocks, why;
};

template <class T>
std::string blocks_of(const Setting<T>& t) {
  return std::to_string(t.queries_at_once) + " queries by " + std::to_string(t.keys_at_once) +
         " keys";
}

// What is left out where keys are hidden from all of a block.
template <class T>
std::string left_out(const Setting<T>& t) {
  std::string text;
  if (t.rule.right < kFarAway) text += "; blocks of later keys are skipped";
  if (t.rule.left < kFarAway) text += "; blocks of keys far back are skipped";
  return text;
}

template <class T>
Service forward_service(const Setting<T>& t) {
  const AttentionShape& s = t.s;
  if (decodes(s))
    return {"forward", "decode",
            std::to_string(t.group * s.queries) + " rows by pieces of " +
                std::to_string(std::min(kPieceKeys, s.keys)) + " keys",
            "fewer than " + std::to_string(kPackedQueries) +
                " queries: keys and values are read once, as they lie, for all heads that share "
                "them, and their pieces share the threads" +
                left_out(t)};
  const bool once = t.keys_at_once >= s.keys;
  return {"forward", once ? "one pass" : "online softmax", blocks_of(t),
          std::string(once ? "all keys fit one block of scores, which stays in L2"
                           : "a block of scores stays in L2, and rows carry their largest score "
                             "and sum from one to the next") +
              left_out(t)};
}

template <class T>
std::vector<Service> services(const AttentionShape& s, const ScoreRule<Wide<T>>& rule) {
  const Setting<T> t{s, rule, {}};
  return {forward_service(t),
          {"backward", "recomputed", blocks_of(t),
           "a block's weights come again of its products and the sums that forward kept" +
               left_out(t)}};
}

}  // namespace tilework::attention
