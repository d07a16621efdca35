/* Opens libokapi as a language binding does: at run time, with RTLD_LOCAL, again and again.
 *
 * load_test LIBRARY MODULE_PATH
 *
 * Closing it must run nothing that matters and leave nothing behind that a second opening, or the
 * end of the process, would stumble over. */
#include <dlfcn.h>
#include <okapi/okapi.h>
#include <stdio.h>
#include <string.h>

#define N_CYCLES 3

static int fail(const char* what, const char* why) {
  fprintf(stderr, "%s: %s\n", what, why != NULL ? why : "");
  return 1;
}

/* ISO C has no cast from an object pointer to a function pointer; POSIX says that copying one is
 * one. */
static int find(void* library, const char* name, void* function, size_t size) {
  void* symbol = dlsym(library, name);
  if (symbol == NULL) return fail(name, dlerror());
  memcpy(function, &symbol, size);
  return 0;
}

static int use(void* library, const char* module_path) {
  uint32_t (*abi_version)(void);
  okapi_status (*create)(const okapi_runtime_options*, okapi_runtime**, okapi_error**);
  void (*unref)(okapi_runtime*);
  const char* (*message)(const okapi_error*);
  okapi_runtime_options options = OKAPI_RUNTIME_OPTIONS_INIT;
  okapi_runtime* runtime = NULL;
  okapi_error* error = NULL;

  if (find(library, "okapi_abi_version", &abi_version, sizeof abi_version) ||
      find(library, "okapi_runtime_create", &create, sizeof create) ||
      find(library, "okapi_runtime_unref", &unref, sizeof unref) ||
      find(library, "okapi_error_message", &message, sizeof message)) {
    return 1;
  }
  if (OKAPI_ABI_MAJOR_OF(abi_version()) != OKAPI_ABI_MAJOR)
    return fail("abi_version", "another major");
  options.n_threads = 1;
  options.module_path = module_path;
  if (create(&options, &runtime, &error) != OKAPI_OK) return fail("create", message(error));
  unref(runtime);
  return 0;
}

int main(int argc, char** argv) {
  int i;
  if (argc != 3) return fail("usage", "load_test LIBRARY MODULE_PATH");
  for (i = 0; i < N_CYCLES; ++i) {
    void* library = dlopen(argv[1], RTLD_NOW | RTLD_LOCAL);
    if (library == NULL) return fail("dlopen", dlerror());
    if (dlsym(RTLD_DEFAULT, "okapi_abi_version") != NULL)
      return fail("RTLD_LOCAL", "symbols leak out");
    if (use(library, argv[2]) != 0) return 1;
    if (dlclose(library) != 0) return fail("dlclose", dlerror());
  }
  return 0;
}
