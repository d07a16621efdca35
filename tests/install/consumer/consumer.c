/* Prints the version and what a runtime says of itself: both need the library, the second its
 * modules too. */
#include <stdio.h>

#include <okapi/okapi.h>

int main(void) {
  char description[65536];
  okapi_error* error = NULL;
  okapi_runtime* runtime = NULL;
  okapi_status status = okapi_runtime_create(NULL, &runtime, &error);
  if (status == OKAPI_OK) {
    status = okapi_runtime_describe(runtime, description, sizeof description, NULL, &error);
  }
  if (status == OKAPI_OK) {
    printf("okapi %s %s\n", okapi_version_string(), description);
  } else {
    fprintf(stderr, "%s\n", okapi_error_message(error));
  }
  okapi_error_unref(error);
  okapi_runtime_unref(runtime);
  return status == OKAPI_OK ? 0 : 1;
}
