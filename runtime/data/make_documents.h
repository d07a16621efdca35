// All records of a dataset as documents of tokens, in order.
#pragma once

#include <cstdint>
#include <functional>

#include "runtime/data/document_maker.h"
#include "runtime/data/open.h"
#include "runtime/plugin_host/dataset_plugin.h"

namespace okapi {

/// Calls `add` on this thread with each document and the number of its record, in the records'
/// order; several threads make them meanwhile. Throws what the first record that goes wrong throws,
/// naming it; cancelled.
void make_documents(const Dataset& dataset, const DocumentMaker& maker, const DataOptions& options,
                    const std::function<void(const TokenDocument&, int64_t record)>& add);

}  // namespace okapi
