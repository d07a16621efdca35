/* All of okapi's C API. Each header also stands on its own. */
#ifndef OKAPI_OKAPI_H
#define OKAPI_OKAPI_H

#include <okapi/adapter.h>
#include <okapi/api.h>
#include <okapi/cancel.h>
#include <okapi/dataset.h>
#include <okapi/delta.h>
#include <okapi/error.h>
#include <okapi/evaluation.h>
#include <okapi/log.h>
#include <okapi/model.h>
#include <okapi/plugins.h>
#include <okapi/results.h>
#include <okapi/rope.h>
#include <okapi/runtime.h>
#include <okapi/session.h>
#include <okapi/task.h>
#include <okapi/tokenizer.h>
#include <okapi/tokens.h>
#include <okapi/trainer.h>
#include <okapi/version.h>

#endif
