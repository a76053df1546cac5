// A Parquet file as lines of JSON.
#pragma once

#include <string>
#include <string_view>

namespace rlcpp::data::parquet {

// One object a row, in the order of the file, with the columns in that of the schema: texts, numbers,
// booleans, null; lists (also the forms of older writers), maps as objects, structs as objects. Dates and
// times are the numbers that the file holds; decimals, 96-bit times and other fixed bytes are hexadecimal
// text. NaN and infinities, which JSON lacks, are null. Throws bad_input naming `where`: damaged, encrypted,
// a codec or encoding that rlcpp does not read.
std::string json_lines(std::string_view file, const std::string& where);

}  // namespace rlcpp::data::parquet
