#include "runtime/data/make_documents.h"

#include <algorithm>
#include <atomic>
#include <exception>
#include <string>
#include <thread>
#include <vector>

#include "runtime/base/error.h"

namespace okapi {

namespace {

// Made before their turn, so that threads rarely wait for one another.
constexpr int64_t kRecordsPerThread = 16;

struct MadeRecord {
  std::vector<TokenDocument> documents;
  std::exception_ptr error;
};

std::vector<TokenDocument> documents_of(const Dataset& dataset, const DocumentMaker& maker,
                                        int64_t record) {
  const RecordData data = dataset.record(record);
  try {
    return maker.documents(data);
  } catch (const Error& error) {
    throw Error(error.code(),
                dataset.name() + ": record " + std::to_string(record) + ": " + error.message())
        .in("data")
        .field(error.field_name());
  }
}

/// Records first .. first+n-1, each on one of the threads; what goes wrong is kept with its record.
std::vector<MadeRecord> make_records(const Dataset& dataset, const DocumentMaker& maker,
                                     const DataOptions& options, int64_t first, int64_t n) {
  std::vector<MadeRecord> made(static_cast<size_t>(n));
  std::atomic<int64_t> next{0};
  const auto work = [&] {
    for (int64_t i = next++; i < n; i = next++) {
      if (options.cancel != nullptr && options.cancel->requested()) return;
      MadeRecord& record = made[static_cast<size_t>(i)];
      try {
        record.documents = documents_of(dataset, maker, first + i);
      } catch (...) {
        record.error = std::current_exception();
      }
    }
  };
  std::vector<std::jthread> others;
  for (int64_t i = 1; i < std::min<int64_t>(options.n_threads, n); ++i) others.emplace_back(work);
  work();
  others.clear();  // waits for them
  return made;
}

}  // namespace

void make_documents(const Dataset& dataset, const DocumentMaker& maker, const DataOptions& options,
                    const std::function<void(const TokenDocument&, int64_t record)>& add) {
  const int64_t n_at_once = kRecordsPerThread * std::max(options.n_threads, 1);
  for (int64_t first = 0; first < dataset.count(); first += n_at_once) {
    const int64_t n = std::min(n_at_once, dataset.count() - first);
    const std::vector<MadeRecord> made = make_records(dataset, maker, options, first, n);
    for (int64_t i = 0; i < n; ++i) {
      if (options.cancel != nullptr) options.cancel->check();
      const MadeRecord& record = made[static_cast<size_t>(i)];
      if (record.error != nullptr) std::rethrow_exception(record.error);
      for (const TokenDocument& document : record.documents) add(document, first + i);
      if (options.progress) options.progress(first + i + 1, dataset.count());
    }
  }
}

}  // namespace okapi
