// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>

#include "scene.hpp"

namespace reid::datasets::synthetic {

/// A sentence about what a picture shows of a person. It names some of the attributes that can be seen from there, two
/// to four of them, in varied words: what one sentence leaves out another may hold. What isn't visible (a logo from
/// behind, an open jacket's inside, shoes below the edge) is never named.
std::string describe(const Person& person, const Seen& seen, Random& random);

}  // namespace reid::datasets::synthetic
