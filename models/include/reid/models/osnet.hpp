// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "reid/models/conv_model.hpp"

namespace reid::models {

/// Options of `osnet_x1_0`, `osnet_x0_75`, `osnet_x0_5`, `osnet_x0_25`.
struct OsNetOptions {
  HeadOptions head{nn::Pooling::avg, false, nn::Feature::before_neck};
  PreprocessOptions preprocess;
  template <class V>
  void fields(V&& v) {
    head.fields(v);
    v("preprocess", preprocess, "test-time preprocessing");
  }
  void validate(const std::string& where) const { head.validate(where); }
};

}  // namespace reid::models
