/* A scheme in plain C that breaks its contract in the way FAULT names, or keeps it. Also the
 * smallest plugin there can be: what a writer without C++ starts from. */

#include <stddef.h>

#include <okapi/plugin/rope.h>

#ifndef NAME
#define NAME good
#endif

#define TEXT_OF(x) #x
#define TEXT(x) TEXT_OF(x)

static int32_t table(void* instance, const okapi_rope_geometry* geometry, okapi_rope_table_v1* out,
                     const okapi_error_sink* sink) {
  int32_t pair;
  (void)instance;
  (void)sink;
  for (pair = 0; pair < out->n_pairs; ++pair) out->inv_freq[pair] = geometry->inv_freq[pair] / 2;
  out->n_written = out->n_pairs;
#if defined(FAULT_NAN)
  out->inv_freq[out->n_pairs - 1] = 0.0 / (geometry->layer - geometry->layer);
#elif defined(FAULT_NEGATIVE)
  out->inv_freq[0] = -1;
#elif defined(FAULT_COUNT)
  out->n_written = out->n_pairs - 1;
#elif defined(FAULT_OVERRUN)
  out->inv_freq[out->n_pairs] = 1;
#elif defined(FAULT_GAIN)
  out->rotation_gain = 0;
#elif defined(FAULT_RANDOM)
  {
    static int n_calls = 0;
    out->inv_freq[0] = 0.5 + 0.001 * (++n_calls % 2);
  }
#elif defined(FAULT_STATUS)
  return 77;
#elif defined(FAULT_SILENT)
  return OKAPI_INVALID_ARGUMENT;
#endif
  return OKAPI_OK;
}

#if defined(FAULT_POSITIONS)
static int32_t positions(void* instance, const okapi_rope_geometry* geometry, int64_t n,
                         okapi_random* draw, double* out, const okapi_error_sink* sink) {
  int64_t i;
  (void)instance;
  (void)geometry;
  (void)draw;
  (void)sink;
  for (i = 0; i < n; ++i) out[i] = (double)(n - i);
  return OKAPI_OK;
}
#elif defined(FAULT_MAGNITUDE)
static int32_t log_magnitude(void* instance, const okapi_rope_geometry* geometry,
                             const double* positions, int64_t n, double* log_q, double* log_k,
                             const okapi_error_sink* sink) {
  (void)instance;
  (void)geometry;
  (void)positions;
  (void)n;
  (void)sink;
  log_q[0] = 0;
  log_k[0] = 0;
  return OKAPI_OK;
}
#endif

static const okapi_rope_scheme_v1 kScheme = {
#if defined(FAULT_SHORT_TABLE)
    16,
#else
    sizeof(okapi_rope_scheme_v1),
#endif
#if defined(FAULT_CLAIM)
    OKAPI_ROPE_PLAIN_AT_SCALE_1,
#elif defined(FAULT_POSITIONS)
    OKAPI_ROPE_POSITIONS_IN_TRAINING,
#else
    0,
#endif
    NULL,
    NULL,
    table,
#if defined(FAULT_POSITIONS)
    positions,
#else
    NULL,
#endif
#if defined(FAULT_MAGNITUDE)
    log_magnitude,
#else
    NULL,
#endif
};

static const void* get_extension(void* state, const char* id) {
  const char* wanted = OKAPI_ROPE_EXTENSION;
  (void)state;
#if defined(FAULT_NO_TABLE)
  return NULL;
#elif defined(FAULT_ANY_EXTENSION)
  (void)id;
  (void)wanted;
  return &kScheme;
#endif
  while (*id != '\0' && *id == *wanted) {
    ++id;
    ++wanted;
  }
  return *id == *wanted ? &kScheme : NULL;
}

#if defined(FAULT_INIT)
static int32_t init(const okapi_host* host, void** state, const okapi_error_sink* sink) {
  (void)host;
  (void)state;
  sink->report(sink, NULL, "the moon is in the wrong phase");
  return OKAPI_FAILED_PRECONDITION;
}
#else
#define init NULL
#endif

#if defined(FAULT_EXTENSIONS)
#define EXTENSIONS "okapi.weather/3"
#else
#define EXTENSIONS OKAPI_ROPE_EXTENSION
#endif

#if defined(FAULT_PARAMETERS)
#define PARAMETERS "[{\"name\":\"scale\",\"type\":\"colour\"}]"
#else
#define PARAMETERS "[]"
#endif

OKAPI_PLUGIN_ENTRY("org.example.rope." TEXT(NAME), TEXT(NAME), "1.0", "Apache-2.0", "a test",
                   EXTENSIONS, PARAMETERS, init, NULL, get_extension)
