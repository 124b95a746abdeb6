// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string_view>

namespace reid::text {

/// The characters of a named reference of HTML 5, UTF-8; nullptr if there is none of that name. The semicolon belongs
/// to the name ("eacute;"); the old names are there without it too.
const char* find_html_entity(std::string_view name);

}  // namespace reid::text
