#include "runtime/generation/advance.h"

#include <algorithm>
#include <map>
#include <memory>
#include <optional>
#include <utility>
#include <vector>

#include "runtime/base/error.h"
#include "runtime/generation/declared_length.h"
#include "runtime/model/adapter_weights.h"
#include "runtime/model/transformer.h"
#include "runtime/model/workspace.h"

namespace okapi {

namespace {

/// One feed on its way: where it stands, and what replaces the session's parts when all has gone
/// well.
class Work {
 public:
  Work(Feed& feed, Outcome outcome)
      : feed_(&feed), session_(feed.session), new_tokens_(feed.tokens) {
    session_->check_ids(new_tokens_);
    session_->check_room(static_cast<int64_t>(new_tokens_.size()));
    n_cached_before_ = session_->cache.n_tokens();
    n_total_ = session_->n_tokens() + static_cast<int64_t>(new_tokens_.size());
    if (n_cached_before_ == n_total_) {
      throw Error(Code::invalid_argument, "tokens: at least one is needed")
          .in("session")
          .field("tokens");
    }
    choose_rotation();
    if (outcome == Outcome::logits) {
      logits_ = std::move(session_->spare_logits);
      logits_.resize(static_cast<size_t>(session_->model->config().vocab_size));
    }
  }

  SessionState& session() const { return *session_; }
  KvCache& cache() { return rebuilt_ ? *rebuilt_ : session_->cache; }
  SequenceRotation& rotation() { return *rotation_; }
  int64_t n_done() { return cache().n_tokens(); }
  int64_t n_total() const { return n_total_; }
  bool has_finished() { return n_done() == n_total_; }
  std::vector<float>& logits() { return logits_; }
  const SampleRule* rule() const { return feed_->rule; }
  int32_t& chosen() { return feed_->chosen; }

  int64_t chunk() const { return session_->prefill_chunk(); }

  int32_t token(int64_t index) const {
    const int64_t n_held = session_->n_tokens();
    return index < n_held ? session_->tokens[static_cast<size_t>(index)]
                          : new_tokens_[static_cast<size_t>(index - n_held)];
  }

  /// Makes room for everything that commit() does, which then cannot fail.
  void prepare_commit() {
    std::vector<int32_t>& tokens = session_->tokens;
    const auto n_needed = static_cast<size_t>(n_total_);
    if (tokens.capacity() < n_needed) tokens.reserve(std::max(n_needed, 2 * tokens.capacity()));
  }

  void commit() noexcept {
    session_->tokens.insert(session_->tokens.end(), new_tokens_.begin(), new_tokens_.end());
    if (rebuilt_) session_->cache = std::move(*rebuilt_);
    session_->rotation = std::move(rotation_);
    session_->has_logits = !logits_.empty();
    std::swap(session_->logits, logits_);
    session_->spare_logits = std::move(logits_);
  }

  /// Forgets what was computed; a rebuilt cache goes with this object.
  void roll_back() noexcept { session_->cache.truncate(n_cached_before_); }

 private:
  void choose_rotation() {
    const SessionOptions& options = session_->options;
    const int64_t length =
        declared_length(options.rope_length, session_->declared_length(), n_total_,
                        session_->expected_tokens, options.least_rope_length);
    rotation_ = session_->rotation;
    const bool outdated =
        rotation_ && rotation_->declared_length() != length && session_->depends_on_length();
    if (rotation_ && !outdated) return;

    rotation_ = session_->make_rotation(length);
    if (outdated && n_cached_before_ > 0 && !rotation_->gives_the_same_as(*session_->rotation)) {
      rebuilt_.emplace(session_->model->page_pool());
    }
  }

  Feed* feed_;
  SessionState* session_;
  std::span<const int32_t> new_tokens_;
  int64_t n_cached_before_ = 0;
  int64_t n_total_ = 0;
  std::shared_ptr<SequenceRotation> rotation_;
  std::optional<KvCache> rebuilt_;  ///< from the first token, under another table
  std::vector<float> logits_;       ///< [V], or empty if not wanted
};

/// How works may be put together in a pass.
struct PassLimits {
  bool is_deterministic = false;
  /// Of a deterministic pass of several works: kernels that serve them all alike.
  int64_t most_shared_rows = 0;
};

PassLimits pass_limits(std::span<const Feed> feeds) {
  PassLimits limits;
  for (const Feed& feed : feeds) {
    limits.is_deterministic = limits.is_deterministic || feed.session->options.deterministic;
  }
  // The products of an adapter's branches are the library's, which looks at the number of rows.
  const SessionState& first = *feeds.front().session;
  if (first.options.adapter == nullptr) {
    limits.most_shared_rows = first.model->context()->backend()->invariant_rows();
  }
  return limits;
}

/// The tokens of one pass: some of each of several works.
struct Pass {
  struct Part {
    Work* work;
    int64_t n_tokens;

    /// Whether the last of the work's tokens is among them.
    bool ends() const { return work->n_done() + n_tokens == work->n_total(); }
  };
  std::vector<Part> parts;
  std::vector<int32_t> ids;
  std::vector<int64_t> wanted_rows;
  std::vector<int32_t> group_of_layer;
  std::vector<std::vector<KvSequence>> sequences_of_group;
  std::vector<SampleRule> rules;  ///< of the wanted rows, where tokens are chosen
  std::vector<int32_t> chosen;

  int64_t n_rows() const { return static_cast<int64_t>(ids.size()); }
  void add(Work& work, int64_t n) {
    parts.push_back({&work, n});
    for (int64_t i = 0; i < n; ++i) ids.push_back(work.token(work.n_done() + i));
  }
};

/// Fills a pass from the works that have not finished, in their order. A work's share is what it
/// would be alone, and is taken whole or waits: where a prompt is cut does not depend on what else
/// is on its way. Single tokens beside prompts cost next to nothing and always find room.
void pack(std::vector<Work>& works, const PassLimits& limits, Pass& pass) {
  pass.parts.clear();
  pass.ids.clear();
  int64_t room = 0;
  for (const Work& work : works) room = std::max(room, work.chunk());

  for (Work& work : works) {
    if (work.has_finished()) continue;
    int64_t n = std::min(work.n_total() - work.n_done(), work.chunk());
    n = work.rotation().longest_step(work.n_done(), n);
    if (limits.is_deterministic && !pass.parts.empty() &&
        pass.n_rows() + n > limits.most_shared_rows) {
      continue;
    }
    if (n > 1) {
      if (n > room) continue;
      room -= n;
    }
    pass.add(work, n);
  }
}

/// Whether somebody asks what follows this work.
bool wants_output(const Work& work, Outcome outcome) {
  return outcome == Outcome::logits || (outcome == Outcome::choices && work.rule() != nullptr);
}

/// Which rows somebody reads: all of them, or the last one of each work that ends here.
void choose_rows(bool all, Outcome outcome, Pass& pass) {
  pass.wanted_rows.clear();
  int64_t row = 0;
  for (const Pass::Part& part : pass.parts) {
    for (int64_t i = 0; i < part.n_tokens; ++i, ++row) {
      const bool is_last = part.ends() && i == part.n_tokens - 1;
      if (all || (is_last && wants_output(*part.work, outcome))) pass.wanted_rows.push_back(row);
    }
  }
}

/// Layers are in one group where every sequence of the pass rotates them alike.
void group_layers(int64_t n_layers, Pass& pass) {
  pass.group_of_layer.assign(static_cast<size_t>(n_layers), 0);
  int32_t n_groups = 1;
  for (const Pass::Part& part : pass.parts) {
    if (part.work->rotation().n_groups() == 1) continue;
    std::map<std::pair<int32_t, int32_t>, int32_t> refined;
    const std::span<const int32_t> finer = part.work->rotation().group_of_layer();
    for (size_t layer = 0; layer < pass.group_of_layer.size(); ++layer) {
      const auto both = std::pair(pass.group_of_layer[layer], finer[layer]);
      pass.group_of_layer[layer] =
          refined.try_emplace(both, static_cast<int32_t>(refined.size())).first->second;
    }
    n_groups = static_cast<int32_t>(refined.size());
  }
  pass.sequences_of_group.resize(static_cast<size_t>(n_groups));
}

/// Makes room in the caches and says how attention sees each sequence in each group of layers.
void describe_sequences(Pass& pass, Stream& stream) {
  for (std::vector<KvSequence>& sequences : pass.sequences_of_group) sequences.clear();

  int64_t first_row = 0;
  for (const Pass::Part& part : pass.parts) {
    KvCache& cache = part.work->cache();
    SequenceRotation& rotation = part.work->rotation();
    cache.reserve(part.n_tokens, stream);
    rotation.prepare(cache.n_tokens(), part.n_tokens, stream);

    KvSequence sequence;
    sequence.first_row = first_row;
    sequence.n_tokens = part.n_tokens;
    sequence.n_cached = cache.n_tokens();
    sequence.pages = cache.pages().data();
    sequence.n_pages = static_cast<int64_t>(cache.pages().size());
    for (size_t group = 0; group < pass.sequences_of_group.size(); ++group) {
      const auto layer = std::find(pass.group_of_layer.begin(), pass.group_of_layer.end(),
                                   static_cast<int32_t>(group)) -
                         pass.group_of_layer.begin();
      rotation.describe_to(sequence, rotation.group_of_layer()[static_cast<size_t>(layer)]);
      pass.sequences_of_group[group].push_back(sequence);
    }
    first_row += part.n_tokens;
  }
}

/// Brings the logits of the works that end in this pass to the host.
void download_logits(const Transformer& transformer, ConstTensorView hidden, Workspace& workspace,
                     Pass& pass) {
  const ConstTensorView logits = transformer.logits(workspace, hidden);
  const auto* row = static_cast<const float*>(logits.data);
  for (const Pass::Part& part : pass.parts) {
    if (!part.ends()) continue;
    std::vector<float>& out = part.work->logits();
    workspace.stream().download(out.data(), row, out.size() * sizeof(float));
    row += out.size();
  }
}

/// The works that end in this pass and have a rule for what follows, in the order of their rows.
std::vector<Work*> choosing_works(const Pass& pass) {
  std::vector<Work*> works;
  for (const Pass::Part& part : pass.parts) {
    if (part.ends() && part.work->rule() != nullptr) works.push_back(part.work);
  }
  return works;
}

/// Chooses the tokens that follow, and brings those to the host.
void choose_tokens(const Transformer& transformer, ConstTensorView hidden, Workspace& workspace,
                   std::span<Work* const> works, Pass& pass) {
  pass.rules.clear();
  for (const Work* work : works) pass.rules.push_back(*work->rule());
  pass.chosen.resize(works.size());
  const ConstTensorView logits = transformer.logits(workspace, hidden);
  const auto n = static_cast<int64_t>(works.size());
  const TensorView buffer = workspace.buffer(Buffer::ids, n, 1, DType::i32);
  const TensorView ids(buffer.data, DType::i32, {n});
  workspace.stream().sample(logits, pass.rules, ids);
  workspace.stream().download(pass.chosen.data(), ids.data, works.size() * sizeof(int32_t));
}

ConstTensorView last_row(ConstTensorView x) {
  const int64_t width = x.shape[1];
  const size_t bytes = static_cast<size_t>((x.shape[0] - 1) * width) * size_of(x.dtype);
  return ConstTensorView(static_cast<const std::byte*>(x.data) + bytes, x.dtype, {1, width});
}

void run(Pass& pass, Outcome outcome, const OutputSink& sink, const Model& model,
         Workspace& workspace) {
  choose_rows(sink != nullptr, outcome, pass);
  group_layers(model.config().n_layers, pass);
  describe_sequences(pass, workspace.stream());

  std::vector<const CancelToken*> cancels;
  for (const Pass::Part& part : pass.parts) {
    const SessionState& session = part.work->session();
    if (session.cancel) cancels.push_back(session.cancel.get());
    if (session.call_cancel) cancels.push_back(session.call_cancel);
  }

  const Transformer& transformer = model.transformer();
  const ForwardBatch batch{pass.ids, pass.sequences_of_group, pass.group_of_layer, pass.wanted_rows,
                           pass.parts.front().work->session().options.adapter.get()};
  ConstTensorView hidden = transformer.forward(workspace, batch, cancels);
  if (sink) {
    const Pass::Part& part = pass.parts.front();  // of the one feed
    sink(workspace, part.work->n_done(), hidden);
    hidden = part.ends() ? last_row(hidden) : ConstTensorView();
  }
  std::vector<Work*> choosing;
  if (!hidden.empty()) {
    if (outcome == Outcome::logits) download_logits(transformer, hidden, workspace, pass);
    if (outcome == Outcome::choices) {
      choosing = choosing_works(pass);
      choose_tokens(transformer, hidden, workspace, choosing, pass);
    }
  }

  workspace.stream().synchronize();
  for (size_t i = 0; i < choosing.size(); ++i) choosing[i]->chosen() = pass.chosen[i];
  for (const Pass::Part& part : pass.parts) part.work->cache().advance(part.n_tokens);
}

// An adapter that was loaded twice is one adapter.
bool compute_the_same(const std::shared_ptr<const AdapterWeights>& a,
                      const std::shared_ptr<const AdapterWeights>& b) {
  return a == b || (a && b && a->sha256() == b->sha256());
}

void check_sessions(std::span<const Feed> feeds) {
  const auto require = [](bool holds, const char* problem) {
    if (holds) return;
    throw Error(Code::invalid_argument, std::string("sessions: ") + problem)
        .in("session")
        .field("sessions");
  };
  const SessionState& first = *feeds.front().session;
  std::vector<const SessionState*> seen;
  for (const Feed& feed : feeds) {
    require(feed.session->model == first.model, "all must be of one model");
    require(compute_the_same(feed.session->options.adapter, first.options.adapter),
            "all must have the same adapter");
    seen.push_back(feed.session);
  }
  std::sort(seen.begin(), seen.end());
  require(std::adjacent_find(seen.begin(), seen.end()) == seen.end(), "one of them is there twice");
}

}  // namespace

void advance(std::span<Feed> feeds, Outcome outcome, const OutputSink& sink) {
  if (feeds.empty()) return;
  check_sessions(feeds);
  const Model& model = *feeds.front().session->model;

  std::vector<Work> works;
  works.reserve(feeds.size());
  for (Feed& feed : feeds) works.emplace_back(feed, outcome);
  for (Work& work : works) work.prepare_commit();

  const WorkspacePool::Lease workspace =
      model.workspaces().borrow(feeds.front().session->options.adapter != nullptr);
  const PassLimits limits = pass_limits(feeds);
  workspace->stream().set_row_invariant(limits.is_deterministic);
  try {
    Pass pass;
    for (pack(works, limits, pass); !pass.parts.empty(); pack(works, limits, pass)) {
      run(pass, outcome, sink, model, *workspace);
    }
  } catch (...) {
    // What was queued may still be writing to pages that are about to be given back.
    try {
      workspace->stream().synchronize();
    } catch (...) {  // the first error is the one to report
    }
    for (Work& work : works) work.roll_back();
    throw;
  }
  for (Work& work : works) work.commit();
}

}  // namespace okapi
