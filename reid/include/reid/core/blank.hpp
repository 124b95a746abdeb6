// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string_view>

namespace reid {

/// Whether nothing of a UTF-8 text is to be seen: every character is white space (White_Space of Unicode 15) or shown as nothing
/// (Default_Ignorable_Code_Point: zero-width spaces and joiners, fillers, variation selectors). True for an empty text, false for
/// one that isn't UTF-8.
bool is_blank(std::string_view text);

}  // namespace reid
