// SQLite as classes: a connection, a prepared statement, a transaction. Errors become okapi::Error
// with the code that fits and the file named. The one place that includes sqlite3.h.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>

struct sqlite3;
struct sqlite3_stmt;

namespace okapi {

/// Not for two threads at once.
class Database {
 public:
  enum class Mode {
    read_write,  ///< made if it is not there
    read_only,
    immutable,  ///< read-only on a medium where SQLite cannot make its own files beside the
                ///< database
  };

  /// `lock_timeout_ms`: how long a call waits while another process writes.
  Database(std::string path, Mode mode, int lock_timeout_ms);
  ~Database();
  Database(const Database&) = delete;
  Database& operator=(const Database&) = delete;

  /// Runs statements that give no rows.
  void execute(const char* sql);

  int64_t query_integer(const char* sql);
  std::string query_text(const char* sql);

  int64_t last_row_id() const;
  const std::string& path() const { return path_; }

  /// Throws what `code` means: unavailable when locked, data_loss when damaged, resource_exhausted
  /// when the disk is full, permission_denied when it may not be written.
  [[noreturn]] void fail(int code, std::string_view doing) const;

 private:
  friend class Statement;

  std::string path_;
  sqlite3* handle_ = nullptr;
};

/// One prepared statement. Bind in order, then step() until it returns false.
class Statement {
 public:
  Statement(Database& database, const char* sql);
  ~Statement();
  Statement(const Statement&) = delete;
  Statement& operator=(const Statement&) = delete;

  Statement& bind(int64_t value);
  Statement& bind(double value);  ///< a NaN becomes NULL
  Statement& bind(std::string_view text);
  Statement& bind(const char* text) { return bind(std::string_view(text)); }
  Statement& bind(const std::string& text) { return bind(std::string_view(text)); }
  Statement& bind_null();

  bool step();
  /// For statements that give no rows.
  void run() {
    while (step()) {
    }
  }

  bool is_null(int column) const;
  int64_t integer(int column) const;
  double real(int column) const;
  std::string text(int column) const;

 private:
  void check(int code);

  Database& database_;
  sqlite3_stmt* statement_ = nullptr;
  int next_parameter_ = 1;
};

/// Rolled back unless committed.
class Transaction {
 public:
  enum class Kind {
    write,  ///< waits for the write lock at once: taken later, SQLite could not wait and would fail
    read,   ///< all reads see one state of the file
  };

  Transaction(Database& database, Kind kind);
  ~Transaction();
  Transaction(const Transaction&) = delete;
  Transaction& operator=(const Transaction&) = delete;

  void commit();

 private:
  Database& database_;
  bool is_open_ = true;
};

}  // namespace okapi
