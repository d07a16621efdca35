/* stretch: every rotation slower by `scale`, in plain C on the plugin ABI itself.
 *
 * What rope.hpp writes for a C++ plugin is written out here: an entry as data, with the parameters
 * declared as JSON; a table of functions; and a way to ask for it.
 */
#include <stdlib.h>
#include <string.h>

#include <okapi/plugin/rope.h>

/* An instance is one set of parameters. */
typedef struct stretch {
  double scale;
} stretch;

static int32_t create(void* state, const okapi_params* params, void** instance, uint32_t* flags,
                      const okapi_error_sink* sink) {
  stretch* made = malloc(sizeof *made);
  (void)state;
  (void)flags;
  if (made == NULL) {
    sink->report(sink, NULL, "out of memory");
    return OKAPI_RESOURCE_EXHAUSTED;
  }
  made->scale = params->find(params, "scale")->number; /* declared, with a default: always there */
  *instance = made;
  return OKAPI_OK;
}

static int32_t table(void* instance, const okapi_rope_geometry* geometry, okapi_rope_table_v1* out,
                     const okapi_error_sink* sink) {
  const stretch* self = instance;
  int32_t pair;
  (void)geometry;
  (void)sink;
  for (pair = 0; pair < out->n_pairs; ++pair)
    out->inv_freq[pair] /= self->scale; /* holds the table so far */
  out->n_written = out->n_pairs;
  return OKAPI_OK;
}

static const void* get_extension(void* state, const char* id) {
  static const okapi_rope_scheme_v1 scheme = {
      sizeof(okapi_rope_scheme_v1),
      OKAPI_ROPE_PLAIN_AT_SCALE_1 | OKAPI_ROPE_THREAD_SAFE,
      create,
      free,
      table,
      NULL, /* positions are 0 .. n-1 */
      NULL  /* no magnitudes */
  };
  (void)state;
  return strcmp(id, OKAPI_ROPE_EXTENSION) == 0 ? &scheme : NULL;
}

OKAPI_PLUGIN_ENTRY(
    "org.example.rope.stretch", "stretch", "1.0", "Apache-2.0", "every rotation slower by scale",
    OKAPI_ROPE_EXTENSION,
    "[{\"name\": \"scale\", \"type\": \"number\", \"default\": 1, \"from_model\": \"length_ratio\","
    " \"min\": 1, \"help\": \"target / trained length\"}]",
    NULL, NULL, get_extension)
