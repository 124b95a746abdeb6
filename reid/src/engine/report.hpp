// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>

#include "reid/core/json.hpp"

namespace reid::engine {

/// A comparison's summary (see compare.cpp) as Markdown and as one HTML page without scripts.
std::string report_markdown(const Json& summary);
std::string report_html(const Json& summary);

/// 95 % interval of a mean of shares by Student's t, cut at 0 and 1. @param values  at least two.
std::pair<double, double> student_interval(const std::vector<double>& values);

}  // namespace reid::engine
