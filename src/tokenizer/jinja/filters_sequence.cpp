// Filters that take lists and dicts.
#include <fmt/format.h>

#include <algorithm>
#include <map>

#include "tokenizer/jinja/builtins.h"
#include "tokenizer/jinja/text.h"

namespace rlcpp::tokenizer::jinja {
namespace {

Value generator(Values items) {
  return Value::sequence(SequenceKind::kGenerator, std::move(items));
}

Value length_filter(Runtime& runtime, const Value& value, Arguments& arguments) {
  const Bound bound(runtime, "length", arguments, {});
  return length(runtime, value);
}

Value first_filter(Runtime& runtime, const Value& value, Arguments& arguments) {
  const Bound bound(runtime, "first", arguments, {});
  if (value.is_sequence(SequenceKind::kGenerator)) {  // takes one and leaves the rest
    Sequence& sequence = value.as_sequence();
    if (sequence.consumed || sequence.items.empty()) return Value::undefined("the sequence is empty");
    const Value item = sequence.items.front();
    sequence.items.erase(sequence.items.begin());
    return item;
  }
  const Values items = iterate(runtime, value);
  return items.empty() ? Value::undefined("the sequence is empty") : items.front();
}

Value last_filter(Runtime& runtime, const Value& value, Arguments& arguments) {
  const Bound bound(runtime, "last", arguments, {});
  if (value.is_sequence(SequenceKind::kGenerator))
    runtime.fail("a generator has no last element; make a list of it first");
  const Values items = iterate(runtime, value);
  return items.empty() ? Value::undefined("the sequence is empty") : items.back();
}

Value list_filter(Runtime& runtime, const Value& value, Arguments& arguments) {
  const Bound bound(runtime, "list", arguments, {});
  return Value::list(iterate(runtime, value));
}

Value reverse_filter(Runtime& runtime, const Value& value, Arguments& arguments) {
  const Bound bound(runtime, "reverse", arguments, {});
  if (value.is_string()) return slice(runtime, value, Value(), Value(), -1);
  Values items = iterate(runtime, value);
  std::reverse(items.begin(), items.end());
  // Python reverses a generator into a list, and everything else into an iterator.
  return value.is_sequence(SequenceKind::kGenerator) ? Value::list(std::move(items))
                                                     : generator(std::move(items));
}

// What is compared: the attribute if one is named, in lower case unless case_sensitive.
Value sort_key(Runtime& runtime, const Value& item, const Value& path, bool case_sensitive) {
  Value key = path.is_none() ? item : lookup_path(runtime, item, path);
  if (!case_sensitive && key.is_string()) key = lower(key.as_string());
  return key;
}

// Stable, also in reverse, as Python's.
void sort_by_keys(Runtime& runtime, Values& items, const Values& keys, bool reverse) {
  std::vector<std::size_t> order(items.size());
  for (std::size_t i = 0; i < order.size(); ++i) order[i] = i;
  std::stable_sort(order.begin(), order.end(), [&](std::size_t a, std::size_t b) {
    return reverse ? less(runtime, keys[b], keys[a]) : less(runtime, keys[a], keys[b]);
  });
  Values sorted;
  for (const std::size_t i : order) sorted.push_back(items[i]);
  items = std::move(sorted);
}

Value sort_filter(Runtime& runtime, const Value& value, Arguments& arguments) {
  const Bound bound(runtime, "sort", arguments, {"reverse", "case_sensitive", "attribute"});
  Values items = iterate(runtime, value);
  const Value attribute_list = bound.get(2, Value());
  Values keys;
  for (const Value& item : items) {
    if (!attribute_list.is_string() || attribute_list.as_string().find(',') == std::string::npos) {
      keys.push_back(sort_key(runtime, item, attribute_list, bound.flag(1, false)));
      continue;
    }
    Values parts;  // "age,name" sorts by both
    const std::string& names = attribute_list.as_string();
    for (std::size_t begin = 0; begin <= names.size();) {
      const std::size_t end = std::min(names.find(',', begin), names.size());
      parts.push_back(sort_key(runtime, item, names.substr(begin, end - begin), bound.flag(1, false)));
      begin = end + 1;
    }
    keys.push_back(Value::list(std::move(parts)));
  }
  sort_by_keys(runtime, items, keys, bound.flag(0, false));
  return Value::list(std::move(items));
}

Value unique_filter(Runtime& runtime, const Value& value, Arguments& arguments) {
  const Bound bound(runtime, "unique", arguments, {"case_sensitive", "attribute"});
  Values kept;
  Values seen;
  for (const Value& item : iterate(runtime, value)) {
    Value key = sort_key(runtime, item, bound.get(1, Value()), bound.flag(0, false));
    require_hashable(runtime, key);
    runtime.spend(static_cast<std::int64_t>(seen.size() / 8));
    if (std::any_of(seen.begin(), seen.end(), [&](const Value& other) { return equal(other, key); }))
      continue;
    seen.push_back(std::move(key));
    kept.push_back(item);
  }
  return generator(std::move(kept));
}

Value extreme(Runtime& runtime, const Value& value, Arguments& arguments, bool largest) {
  const Bound bound(runtime, largest ? "max" : "min", arguments, {"case_sensitive", "attribute"});
  const Values items = iterate(runtime, value);
  if (items.empty()) return Value::undefined("the sequence is empty");
  std::size_t best = 0;
  Value best_key = sort_key(runtime, items[0], bound.get(1, Value()), bound.flag(0, false));
  for (std::size_t i = 1; i < items.size(); ++i) {
    Value key = sort_key(runtime, items[i], bound.get(1, Value()), bound.flag(0, false));
    if (largest ? less(runtime, best_key, key) : less(runtime, key, best_key)) {
      best = i;
      best_key = std::move(key);
    }
  }
  return items[best];
}
Value min_filter(Runtime& runtime, const Value& value, Arguments& arguments) {
  return extreme(runtime, value, arguments, false);
}
Value max_filter(Runtime& runtime, const Value& value, Arguments& arguments) {
  return extreme(runtime, value, arguments, true);
}

Value sum_filter(Runtime& runtime, const Value& value, Arguments& arguments) {
  const Bound bound(runtime, "sum", arguments, {"attribute", "start"});
  Value total = bound.get(1, 0);
  if (total.is_string()) runtime.fail("sum does not join strings; join does");
  for (const Value& item : iterate(runtime, value)) {
    const bool by_attribute = bound.has(0) && !bound.at(0).is_none();
    total = add(runtime, total, by_attribute ? lookup_path(runtime, item, bound.at(0)) : item);
  }
  return total;
}

// Takes the name at the front of the positional arguments.
std::string take_name(Runtime& runtime, Arguments& arguments, const char* filter, const char* what) {
  if (arguments.positional.empty() || !arguments.positional[0].is_string()) {
    runtime.fail(fmt::format("{} needs the name of {}", filter, what));
  }
  std::string name = arguments.positional[0].as_string();
  arguments.positional.erase(arguments.positional.begin());
  return name;
}

Value map_filter(Runtime& runtime, const Value& value, Arguments& arguments) {
  Values out;
  if (arguments.positional.empty()) {
    const Bound bound(runtime, "map", arguments, {"attribute", "default"}, 1);
    for (const Value& item : iterate(runtime, value)) {
      out.push_back(lookup_path(runtime, item, bound.at(0), bound.get(1, Value())));
    }
    return generator(std::move(out));
  }
  const std::string name = take_name(runtime, arguments, "map", "a filter");
  const Filter filter = find_filter(name);
  for (const Value& item : iterate(runtime, value)) {
    if (filter == nullptr) runtime.fail(fmt::format("the filter {} is not supported", name));
    Arguments inner = arguments;
    runtime.spend();
    out.push_back(filter(runtime, item, inner));
  }
  return generator(std::move(out));
}

Value select_items(Runtime& runtime, const Value& value, Arguments& arguments, const char* filter,
                   bool by_attribute, bool keep) {
  Value path;
  if (by_attribute) {
    if (arguments.positional.empty()) runtime.fail(fmt::format("{} needs the name of an attribute", filter));
    path = arguments.positional[0];
    arguments.positional.erase(arguments.positional.begin());
  }
  const bool by_test = !arguments.positional.empty();
  const std::string name = by_test ? take_name(runtime, arguments, filter, "a test") : "";
  const Test test = by_test ? find_test(name) : nullptr;
  Values kept;
  if (truth(value)) {
    for (const Value& item : iterate(runtime, value)) {
      if (by_test && test == nullptr) runtime.fail(fmt::format("the test {} is not supported", name));
      const Value subject = by_attribute ? lookup_path(runtime, item, path) : item;
      Arguments inner = arguments;
      runtime.spend();
      if ((test == nullptr ? truth(subject) : test(runtime, subject, inner)) == keep) kept.push_back(item);
    }
  }
  return generator(std::move(kept));
}
Value select_filter(Runtime& runtime, const Value& value, Arguments& arguments) {
  return select_items(runtime, value, arguments, "select", false, true);
}
Value reject_filter(Runtime& runtime, const Value& value, Arguments& arguments) {
  return select_items(runtime, value, arguments, "reject", false, false);
}
Value selectattr_filter(Runtime& runtime, const Value& value, Arguments& arguments) {
  return select_items(runtime, value, arguments, "selectattr", true, true);
}
Value rejectattr_filter(Runtime& runtime, const Value& value, Arguments& arguments) {
  return select_items(runtime, value, arguments, "rejectattr", true, false);
}

Value items_filter(Runtime& runtime, const Value& value, Arguments& arguments) {
  const Bound bound(runtime, "items", arguments, {});
  if (value.is_undefined()) return generator({});
  if (!value.is(Kind::kDict)) runtime.fail(fmt::format("items needs a dict, not {}", type_name(value)));
  Values pairs;
  for (const auto& [key, item] : value.as_dict().entries) {
    runtime.spend();
    pairs.push_back(Value::tuple({key, item}));
  }
  return generator(std::move(pairs));
}

Value dictsort_filter(Runtime& runtime, const Value& value, Arguments& arguments) {
  const Bound bound(runtime, "dictsort", arguments, {"case_sensitive", "by", "reverse"});
  const std::string by = bound.text(1, "key");
  if (by != "key" && by != "value") runtime.fail("dictsort sorts by \"key\" or \"value\"");
  if (!value.is(Kind::kDict)) runtime.fail(fmt::format("dictsort needs a dict, not {}", type_name(value)));
  Values pairs;
  Values keys;
  for (const auto& [key, item] : value.as_dict().entries) {
    runtime.spend();
    pairs.push_back(Value::tuple({key, item}));
    keys.push_back(sort_key(runtime, by == "key" ? key : item, Value(), bound.flag(0, false)));
  }
  sort_by_keys(runtime, pairs, keys, bound.flag(2, false));
  return Value::list(std::move(pairs));
}

// Lists of `linecount` elements each.
Value batch_filter(Runtime& runtime, const Value& value, Arguments& arguments) {
  const Bound bound(runtime, "batch", arguments, {"linecount", "fill_with"}, 1);
  const std::int64_t count = bound.integer(0, 1);
  Values batches;
  Values batch;
  for (const Value& item : iterate(runtime, value)) {
    if (static_cast<std::int64_t>(batch.size()) == count)
      batches.push_back(Value::list(std::exchange(batch, {})));
    batch.push_back(item);
  }
  if (!batch.empty()) {
    while (bound.has(1) && !bound.at(1).is_none() && static_cast<std::int64_t>(batch.size()) < count) {
      runtime.spend();
      batch.push_back(bound.at(1));
    }
    batches.push_back(Value::list(std::move(batch)));
  }
  return generator(std::move(batches));
}

}  // namespace

Filter find_sequence_filter(std::string_view name) {
  static const std::map<std::string_view, Filter> filters = {{"length", length_filter},
                                                             {"count", length_filter},
                                                             {"first", first_filter},
                                                             {"last", last_filter},
                                                             {"list", list_filter},
                                                             {"reverse", reverse_filter},
                                                             {"sort", sort_filter},
                                                             {"unique", unique_filter},
                                                             {"min", min_filter},
                                                             {"max", max_filter},
                                                             {"sum", sum_filter},
                                                             {"map", map_filter},
                                                             {"select", select_filter},
                                                             {"reject", reject_filter},
                                                             {"selectattr", selectattr_filter},
                                                             {"items", items_filter},
                                                             {"rejectattr", rejectattr_filter},
                                                             {"dictsort", dictsort_filter},
                                                             {"batch", batch_filter}};
  const auto found = filters.find(name);
  return found == filters.end() ? nullptr : found->second;
}

}  // namespace rlcpp::tokenizer::jinja
