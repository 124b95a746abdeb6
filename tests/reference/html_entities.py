# SPDX-License-Identifier: Apache-2.0
"""Writes reid/src/text/html_entities.cpp from Python's list of HTML 5 named character references (the WHATWG's)."""
import html.entities
import pathlib

HEAD = """// SPDX-License-Identifier: Apache-2.0
// Named character references of HTML 5 (https://html.spec.whatwg.org/multipage/named-characters.html).
// Written by tests/reference/html_entities.py: don't edit.
#include "html_entities.hpp"

#include <algorithm>
#include <array>

namespace reid::text {
namespace {

struct Entity {
  std::string_view name;
  const char* value;
};

// clang-format off
constexpr std::array<Entity, %d> kEntities{{
"""
TAIL = """}};
// clang-format on

}  // namespace

const char* find_html_entity(std::string_view name) {
  const auto it = std::lower_bound(kEntities.begin(), kEntities.end(), name,
                                   [](const Entity& entity, std::string_view wanted) { return entity.name < wanted; });
  return it != kEntities.end() && it->name == name ? it->value : nullptr;
}

}  // namespace reid::text
"""


def literal(text):
    # Octal escapes have at most three digits, so what follows can't be taken for a part of them.
    return '"' + "".join(chr(b) if 32 <= b < 127 and chr(b) not in '"\\?' else "\\%03o" % b for b in text.encode()) + '"'


def main():
    entities = sorted(html.entities.html5.items())
    lines, line = [], ""
    for name, value in entities:
        item = "{%s,%s}," % (literal(name), literal(value))
        if line and len(line) + len(item) > 118:
            lines.append(line)
            line = ""
        line += item
    lines.append(line)
    target = pathlib.Path(__file__).parents[2] / "reid/src/text/html_entities.cpp"
    target.write_text(HEAD % len(entities) + "\n".join(lines) + "\n" + TAIL)


main()
