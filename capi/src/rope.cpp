#include "runtime/model/rotary/rope.h"

#include <okapi/rope.h>

#include <algorithm>
#include <limits>
#include <string>

#include "capi/src/field_ends.h"
#include "capi/src/objects.h"
#include "capi/src/options.h"
#include "capi/src/text_out.h"
#include "runtime/model/model.h"
#include "runtime/model/rotary/explain.h"
#include "runtime/model/rotary/rope_table.h"
#include "runtime/plugin_host/plugin_host.h"

using namespace okapi::capi;  // NOLINT(google-build-using-namespace): this file is its C face

namespace {

constexpr double kDefaultBase = 10000;
constexpr int64_t kMaxLength = std::numeric_limits<int64_t>::max();

okapi::RopeGeometry geometry_of(const okapi_rope_shape& shape) {
  check_range(shape.n_layers, 0, std::numeric_limits<int32_t>::max(), "shape.n_layers");
  check_range(shape.head_dim, 2, std::numeric_limits<int32_t>::max(), "shape.head_dim");
  check_range(shape.trained_length, 1, kMaxLength, "shape.trained_length");

  okapi::RopeGeometry geometry;
  geometry.head_dim = shape.head_dim;
  geometry.rotary_dim = shape.head_dim;
  geometry.base = shape.base == 0 ? kDefaultBase : shape.base;
  geometry.trained_length = shape.trained_length;
  geometry.n_layers = std::max<int64_t>(shape.n_layers, 1);
  return geometry;
}

/// The rope's own geometry at a declared length; 0: the trained one.
okapi::RopeGeometry geometry_at(const okapi::Rope& rope, int64_t declared_length) {
  check_range(declared_length, 0, kMaxLength, "declared_length");
  okapi::RopeGeometry geometry = rope.model_geometry();
  geometry.target_length = declared_length == 0 ? geometry.trained_length : declared_length;
  return geometry;
}

}  // namespace

okapi_status okapi_rope_create(const okapi_model* model, const char* spec, okapi_rope** rope,
                               okapi_error** error) {
  return guard(__func__, error, [&] {
    require_out(rope, "rope");
    const okapi::Model& found = *require(model, "model")->model;
    *rope = new okapi_rope(found.context(), found.parse_rope(spec != nullptr ? spec : ""));
  });
}

okapi_status okapi_rope_create_for_shape(okapi_runtime* runtime, const okapi_rope_shape* shape,
                                         const char* spec, okapi_rope** rope, okapi_error** error) {
  return guard(__func__, error, [&] {
    require_out(rope, "rope");
    require(runtime, "runtime");
    require(shape, "shape");
    require(spec, "spec");
    const auto given = read_struct(shape, "shape", "OKAPI_ROPE_SHAPE_INIT");
    *rope = new okapi_rope(
        runtime->context,
        okapi::Rope::parse(spec, runtime->context->plugin_host(), geometry_of(given)));
  });
}

okapi_rope* okapi_rope_ref(okapi_rope* rope) { return ref(__func__, rope); }

void okapi_rope_unref(okapi_rope* rope) { unref(__func__, rope); }

okapi_status okapi_rope_canonical(const okapi_rope* rope, char* buffer, size_t capacity,
                                  size_t* needed, okapi_error** error) {
  return guard(__func__, error, [&] {
    copy_text(require(rope, "rope")->rope->canonical(), buffer, capacity, needed);
  });
}

okapi_status okapi_rope_describe(const okapi_rope* rope, char* buffer, size_t capacity,
                                 size_t* needed, okapi_error** error) {
  return guard(__func__, error,
               [&] { copy_json(require(rope, "rope")->rope->json(), buffer, capacity, needed); });
}

okapi_status okapi_rope_table(const okapi_rope* rope, int64_t declared_length, int32_t layer,
                              double* inv_freq, size_t capacity, size_t* n_pairs,
                              double* rotation_gain, double* attention_temperature,
                              okapi_error** error) {
  return guard(__func__, error, [&] {
    const okapi::Rope& found = *require(rope, "rope")->rope;
    okapi::RopeGeometry geometry = geometry_at(found, declared_length);
    if (layer < 0 || layer >= geometry.n_layers) {
      throw okapi::Error(okapi::Code::out_of_range, "layer must be in [0, " +
                                                        std::to_string(geometry.n_layers) +
                                                        "), is " + std::to_string(layer))
          .field("layer");
    }
    geometry.layer = layer;
    const okapi::RopeTable table = okapi::RopeTable::evaluate(found, geometry);
    if (rotation_gain != nullptr) *rotation_gain = table.rotation_gain;
    if (attention_temperature != nullptr) *attention_temperature = table.attention_temperature;
    copy_array(std::span<const double>(table.inv_freq), "inv_freq", inv_freq, capacity, n_pairs);
  });
}

okapi_status okapi_rope_explain(const okapi_rope* rope, int64_t declared_length, char* buffer,
                                size_t capacity, size_t* needed, okapi_error** error) {
  return guard(__func__, error, [&] {
    const okapi::Rope& found = *require(rope, "rope")->rope;
    copy_json(okapi::explain(found, geometry_at(found, declared_length)), buffer, capacity, needed);
  });
}

okapi_status okapi_runtime_register_rope(okapi_runtime* runtime, const char* name,
                                         const char* parameters_json,
                                         const okapi_rope_scheme_v1* scheme, void* user_data,
                                         void (*destroy)(void* user_data), okapi_error** error) {
  return guard(__func__, error, [&] {
    require(runtime, "runtime");
    require(name, "name");
    require(scheme, "scheme");
    runtime->context->plugin_host().register_rope(
        name, parameters_json != nullptr ? parameters_json : "", *scheme, user_data, destroy);
  });
}
