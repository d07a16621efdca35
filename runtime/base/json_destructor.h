// JSON values that are destroyed without asking for memory.
//
// The library's destructor moves children to a stack on the heap, so that depth does not matter to
// it, and ends the process when there is no memory for that stack (it is noexcept). Here depth is
// limited where JSON is read (JsonLimits), so values may destroy their children as usual, and a
// call that ran out of memory can say so.
#pragma once

#include <memory>

#include <nlohmann/json.hpp>

namespace okapi {

template <typename Allocator, typename T>
void destroy_json_child(Allocator allocator, T* child) {
  if (child == nullptr) return;
  std::allocator_traits<Allocator>::destroy(allocator, child);
  std::allocator_traits<Allocator>::deallocate(allocator, child, 1);
}

}  // namespace okapi

// Members of nlohmann::json's and ordered_json's, specialised: their names are private, which an
// explicit specialisation may use all the same ([temp.spec.general]).
template <>
inline void nlohmann::json::json_value::destroy(nlohmann::detail::value_t type) {
  using nlohmann::detail::value_t;
  if (type == value_t::object) okapi::destroy_json_child(std::allocator<object_t>(), object);
  if (type == value_t::array) okapi::destroy_json_child(std::allocator<array_t>(), array);
  if (type == value_t::string) okapi::destroy_json_child(std::allocator<string_t>(), string);
  if (type == value_t::binary) okapi::destroy_json_child(std::allocator<binary_t>(), binary);
}

template <>
inline void nlohmann::ordered_json::json_value::destroy(nlohmann::detail::value_t type) {
  using nlohmann::detail::value_t;
  if (type == value_t::object) okapi::destroy_json_child(std::allocator<object_t>(), object);
  if (type == value_t::array) okapi::destroy_json_child(std::allocator<array_t>(), array);
  if (type == value_t::string) okapi::destroy_json_child(std::allocator<string_t>(), string);
  if (type == value_t::binary) okapi::destroy_json_child(std::allocator<binary_t>(), binary);
}
