#include "optim/dense_modes.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstring>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/types/span.h"
#include "common/status_macros.h"
#include "optim/adamw.h"
#include "optim/bytes.h"
#include "optim/parallel.h"
#include "optim/simd.h"

namespace tributary::optim {
namespace {

constexpr uint8_t kVersion = 1;
constexpr size_t kHeaderSize = 1;

// Elements that travel lie in `live` stretches of theta, between frozen blocks. A piece is a part of one stretch.
struct Piece {
  int64_t theta = 0;  // place of its first element in theta
  int64_t live = 0;   // place of its first element among all that travel
  int64_t size = 0;
};

// All live elements in order, in pieces of at most `longest`; a piece also ends where a frozen block that is not empty begins.
std::vector<Piece> CutLive(const Layout& layout, int64_t longest) {
  std::vector<Piece> stretches;
  int64_t live = 0;
  for (const Block& block : layout.blocks()) {
    if (block.frozen || block.size == 0) continue;
    if (!stretches.empty() && stretches.back().theta + stretches.back().size == block.offset) {
      stretches.back().size += block.size;
    } else {
      stretches.push_back({block.offset, live, block.size});
    }
    live += block.size;
  }
  std::vector<Piece> pieces;
  for (const Piece& stretch : stretches) {
    for (int64_t begin = 0; begin < stretch.size; begin += longest) {
      pieces.push_back({stretch.theta + begin, stretch.live + begin, std::min(longest, stretch.size - begin)});
    }
  }
  return pieces;
}

int64_t LiveSize(absl::Span<const Piece> pieces) {
  return pieces.empty() ? 0 : pieces.back().live + pieces.back().size;
}

// The block that holds element `place` of theta, for messages.
absl::string_view BlockAt(const Layout& layout, int64_t place) {
  for (const Block& block : layout.blocks()) {
    if (place >= block.offset && place < block.offset + block.size) return block.name;
  }
  return "?";
}

absl::Status CheckVersion(absl::string_view payload) {
  if (payload.empty()) return absl::InvalidArgumentError("dense payload: empty");
  const uint8_t version = static_cast<uint8_t>(payload[0]);
  if (version == kVersion) return absl::OkStatus();
  return absl::InvalidArgumentError(absl::StrCat("dense payload: version ", version, " is unknown; this program reads version ", kVersion));
}

// --- fp32 values: allreduce, fedavg, diloco -------------------------------------------------------------------------------------------

// A work unit: long enough to be worth a thread's attention, short enough to stay in its cache.
constexpr int64_t kValuePiece = 1 << 14;

float LoadFloat(const char* bytes) {
  float value;
  std::memcpy(&value, bytes, sizeof(value));
  return value;
}

// Finite, within the bound, and not the second zero.
TRIBUTARY_SIMD_CLONES
bool AllCanonical(const char* __restrict bytes, int64_t size) {
  const uint32_t bound = std::bit_cast<uint32_t>(kDenseValueBound);
  uint32_t bad = 0;
  for (int64_t i = 0; i < size; ++i) {
    uint32_t bits;
    std::memcpy(&bits, bytes + i * sizeof(bits), sizeof(bits));
    bad |= static_cast<uint32_t>((bits & 0x7fffffffu) > bound) | static_cast<uint32_t>(bits == 0x80000000u);
  }
  return bad == 0;
}

// Adding +0 turns -0 into +0 and leaves every other value.
TRIBUTARY_SIMD_CLONES
void PackScaled(const float* __restrict values, float factor, int64_t size, char* __restrict bytes) {
  for (int64_t i = 0; i < size; ++i) {
    const float value = values[i] * factor + 0.0f;
    std::memcpy(bytes + i * sizeof(value), &value, sizeof(value));
  }
}

// Rounds value * units to the nearest integer, ties to even: adding 1.5 * 2^52 leaves the integer in the low bits of a double, exactly,
// because units <= 2^40 has at most 24 significant bits and |value| * units <= 2^50.
TRIBUTARY_SIMD_CLONES
void AddFixed(const char* __restrict bytes, double units, int64_t size, int64_t* __restrict sums) {
  constexpr double kMagic = 6755399441055744.0;
  for (int64_t i = 0; i < size; ++i) {
    float value;
    std::memcpy(&value, bytes + i * sizeof(value), sizeof(value));
    const double shifted = static_cast<double>(value) * units + kMagic;
    sums[i] += std::bit_cast<int64_t>(shifted) - std::bit_cast<int64_t>(kMagic);
  }
}

TRIBUTARY_SIMD_CLONES
void PackMean(const int64_t* __restrict sums, double divisor, int64_t size, char* __restrict bytes) {
  for (int64_t i = 0; i < size; ++i) {
    const float value = static_cast<float>(static_cast<double>(sums[i]) / divisor);
    std::memcpy(bytes + i * sizeof(value), &value, sizeof(value));
  }
}

absl::Status CheckValues(const Layout& layout, absl::Span<const Piece> pieces, absl::string_view payload) {
  TRIBUTARY_RETURN_IF_ERROR(CheckVersion(payload));
  const uint64_t expected = kHeaderSize + static_cast<uint64_t>(LiveSize(pieces)) * sizeof(float);
  if (payload.size() != expected) {
    return absl::InvalidArgumentError(absl::StrCat("dense payload: ", payload.size(), " bytes; this layout takes ", expected));
  }
  for (const Piece& piece : pieces) {
    const char* bytes = payload.data() + kHeaderSize + piece.live * sizeof(float);
    if (AllCanonical(bytes, piece.size)) continue;
    for (int64_t i = 0; i < piece.size; ++i, bytes += sizeof(float)) {
      if (AllCanonical(bytes, 1)) continue;
      return absl::InvalidArgumentError(absl::StrCat("dense payload: block ", BlockAt(layout, piece.theta + i), ": value ",
                                                     LoadFloat(bytes), " is not finite, beyond ", kDenseValueBound,
                                                     ", or a negative zero"));
    }
  }
  return absl::OkStatus();
}

// --- signs: signsgd -------------------------------------------------------------------------------------------------------------------

constexpr int64_t kSignPiece = 4096;

// First byte of a piece: what its signs are. Exactly one kind fits a piece, so the encoding is canonical.
enum SignKind : uint8_t {
  kAllZero = 0,   // nothing follows
  kNoneZero = 1,  // one bit per element: 1 is negative
  kMixed = 2,     // one bit per element: 1 is non-zero; then one bit per non-zero element: 1 is negative
};

uint64_t BitmapBytes(uint64_t bits) {
  return (bits + 7) / 8;
}

bool GetBit(const char* bitmap, uint64_t i) {
  return ((static_cast<uint8_t>(bitmap[i >> 3]) >> (i & 7)) & 1) != 0;
}

// Appends the bitmap of `bits`, least significant bit first, zero bits at the end.
void AppendBitmap(absl::Span<const uint8_t> bits, std::string& out) {
  for (size_t i = 0; i < bits.size(); i += 8) {
    uint8_t byte = 0;
    for (size_t j = 0; j < std::min<size_t>(8, bits.size() - i); ++j) byte |= static_cast<uint8_t>(bits[i + j] << j);
    out.push_back(static_cast<char>(byte));
  }
}

// Appends one piece of signs in {-1, 0, +1}; `get(i)` gives them.
template <typename Get>
void AppendSigns(int64_t size, const Get& get, std::string& out) {
  uint8_t present[kSignPiece];
  uint8_t negative[kSignPiece];
  size_t count = 0;
  for (int64_t i = 0; i < size; ++i) {
    const int sign = get(i);
    present[i] = sign != 0 ? 1 : 0;
    negative[count] = sign < 0 ? 1 : 0;
    count += present[i];
  }
  const SignKind kind = count == 0 ? kAllZero : count == static_cast<size_t>(size) ? kNoneZero : kMixed;
  out.push_back(static_cast<char>(kind));
  if (kind == kMixed) AppendBitmap(absl::MakeConstSpan(present, size), out);
  AppendBitmap(absl::MakeConstSpan(negative, count), out);
}

// One piece inside a payload that has been checked.
struct SignPiece {
  SignKind kind = kAllZero;
  const char* present = nullptr;   // kMixed
  const char* negative = nullptr;  // kNoneZero, kMixed
};

// Calls visit(i, sign) for each element whose sign is not zero.
template <typename Visit>
void ForEachSign(const SignPiece& piece, int64_t size, const Visit& visit) {
  if (piece.kind == kNoneZero) {
    for (int64_t i = 0; i < size; ++i) visit(i, GetBit(piece.negative, i) ? -1 : 1);
  } else if (piece.kind == kMixed) {
    uint64_t next = 0;
    for (int64_t begin = 0; begin < size; begin += 8) {
      for (uint32_t bits = static_cast<uint8_t>(piece.present[begin / 8]); bits != 0; bits &= bits - 1) {
        visit(begin + std::countr_zero(bits), GetBit(piece.negative, next++) ? -1 : 1);
      }
    }
  }
}

// Whether the bits after the first `bits` of a bitmap are zero.
bool PaddingIsZero(const char* bitmap, uint64_t bits) {
  return bits % 8 == 0 || static_cast<uint8_t>(bitmap[bits / 8]) >> (bits % 8) == 0;
}

uint64_t CountBits(const char* bitmap, uint64_t bits) {
  uint64_t count = 0;
  for (uint64_t byte = 0; byte < BitmapBytes(bits); ++byte) count += std::popcount(static_cast<uint8_t>(bitmap[byte]));
  return count;
}

// Finds the pieces of `payload` and checks everything about them. `found`, if given, has room for all.
absl::Status ParseSigns(absl::Span<const Piece> pieces, absl::string_view payload, SignPiece* found) {
  TRIBUTARY_RETURN_IF_ERROR(CheckVersion(payload));
  absl::string_view rest = payload.substr(kHeaderSize);
  for (size_t p = 0; p < pieces.size(); ++p) {
    const uint64_t size = pieces[p].size;
    auto invalid = [p](absl::string_view what) { return absl::InvalidArgumentError(absl::StrCat("sign payload, piece ", p, ": ", what)); };
    if (rest.empty()) return invalid("truncated");
    if (static_cast<uint8_t>(rest[0]) > kMixed) return invalid(absl::StrCat("kind ", static_cast<uint8_t>(rest[0]), " is unknown"));
    SignPiece piece;
    piece.kind = static_cast<SignKind>(rest[0]);
    rest.remove_prefix(1);
    uint64_t count = piece.kind == kAllZero ? 0 : size;
    if (piece.kind == kMixed) {
      if (rest.size() < BitmapBytes(size)) return invalid("truncated");
      piece.present = rest.data();
      count = CountBits(piece.present, size);
      if (!PaddingIsZero(piece.present, size)) return invalid("padding bits are not zero");
      if (count == 0 || count == size) return invalid("its kind says mixed, but it is not");
      rest.remove_prefix(BitmapBytes(size));
    }
    if (rest.size() < BitmapBytes(count)) return invalid("truncated");
    piece.negative = rest.data();
    if (!PaddingIsZero(piece.negative, count)) return invalid("padding bits are not zero");
    rest.remove_prefix(BitmapBytes(count));
    if (found != nullptr) found[p] = piece;
  }
  if (!rest.empty()) return absl::InvalidArgumentError(absl::StrCat("sign payload: ", rest.size(), " trailing bytes"));
  return absl::OkStatus();
}

// --- Worker -------------------------------------------------------------------------------------------------------------------------

// The saved state of an encoder or aggregator without a residual: it only says whose it is.
std::string EmptyState(absl::string_view owner, const OptimizerOptions& options, const Layout& layout) {
  return absl::StrCat("tributary ", owner, " 1 ", ModeName(options.mode), "\n", AsBytes(layout.hash()));
}

absl::Status CheckEmptyState(absl::string_view owner, const OptimizerOptions& options, const Layout& layout, absl::string_view state) {
  if (state == EmptyState(owner, options, layout)) return absl::OkStatus();
  return absl::DataLossError(absl::StrCat("saved ", owner, " state: damaged, or of another layout or mode than ", ModeName(options.mode)));
}

// Nothing is left behind when everything is sent, so there is no residual; what differs by mode is only what is packed.
class DenseEncoder : public UpdateEncoder {
 public:
  DenseEncoder(const OptimizerOptions& options, const Layout& layout, int64_t longest_piece)
      : options_(options), layout_(layout), pieces_(CutLive(layout, longest_piece)) {}

  absl::StatusOr<std::string> Encode(const RoundParameters& parameters, absl::Span<const float> direction) final {
    if (pending_) return absl::FailedPreconditionError("the previous update is not settled");
    if (direction.size() != static_cast<size_t>(layout_.size())) {
      return absl::InvalidArgumentError(absl::StrCat("the direction has ", direction.size(), " elements, the layout ", layout_.size()));
    }
    double squares = 0;
    for (const Piece& piece : pieces_) squares += SquaredNorm(direction.subspan(piece.theta, piece.size));
    if (!std::isfinite(squares)) return absl::FailedPreconditionError("NaN or infinity in the direction; the round is skipped");
    TRIBUTARY_ASSIGN_OR_RETURN(std::string payload, Pack(std::sqrt(squares), direction));
    pending_ = true;
    return payload;
  }
  void Settle(bool included) final { pending_ = false; }
  double ResidualNorm() const final { return 0; }
  std::string SaveState() const final { return EmptyState(pending_ ? kPendingOwner : kOwner, options_, layout_); }
  absl::Status RestoreState(absl::string_view state) final {
    const bool pending = state == EmptyState(kPendingOwner, options_, layout_);
    if (!pending) TRIBUTARY_RETURN_IF_ERROR(CheckEmptyState(kOwner, options_, layout_, state));
    pending_ = pending;
    return absl::OkStatus();
  }

 protected:
  virtual absl::StatusOr<std::string> Pack(double norm, absl::Span<const float> direction) = 0;

  const OptimizerOptions options_;
  const Layout& layout_;
  const std::vector<Piece> pieces_;

 private:
  static constexpr absl::string_view kOwner = "encoder";
  static constexpr absl::string_view kPendingOwner = "encoder with a pending update";
  bool pending_ = false;
};

class ValueEncoder final : public DenseEncoder {
 public:
  ValueEncoder(const OptimizerOptions& options, const Layout& layout) : DenseEncoder(options, layout, kValuePiece) {}

 protected:
  absl::StatusOr<std::string> Pack(double norm, absl::Span<const float> direction) override {
    // Gradients are clipped here; those of the local steps behind a pseudo-gradient have been.
    const float clip = DirectionOf(options_.mode) == Direction::kGradient ? options_.clip_norm : 0.0f;
    const float factor = clip > 0 && norm > clip ? static_cast<float>(clip / norm) : 1.0f;
    std::string payload(MaxDensePayloadBytes(options_, layout_), '\0');
    payload[0] = static_cast<char>(kVersion);
    for (const Piece& piece : pieces_) {
      char* bytes = payload.data() + kHeaderSize + piece.live * sizeof(float);
      PackScaled(direction.data() + piece.theta, factor, piece.size, bytes);
      if (!AllCanonical(bytes, piece.size)) {
        return absl::FailedPreconditionError(absl::StrCat("a value of the direction is beyond ", kDenseValueBound,
                                                          " in magnitude, near block ", BlockAt(layout_, piece.theta),
                                                          "; the round is skipped; set clip_norm or lower the learning rate"));
      }
    }
    return payload;
  }
};

class SignEncoder final : public DenseEncoder {
 public:
  SignEncoder(const OptimizerOptions& options, const Layout& layout) : DenseEncoder(options, layout, kSignPiece) {}

 protected:
  // Clipping would not change a sign.
  absl::StatusOr<std::string> Pack(double, absl::Span<const float> direction) override {
    std::string payload(1, static_cast<char>(kVersion));
    for (const Piece& piece : pieces_) {
      const float* values = direction.data() + piece.theta;
      AppendSigns(
          piece.size, [values](int64_t i) { return (values[i] > 0) - (values[i] < 0); }, payload);
    }
    return payload;
  }
};

// --- Coordinator ----------------------------------------------------------------------------------------------------------------------

class DenseAggregator : public Aggregator {
 public:
  DenseAggregator(const OptimizerOptions& options, const Layout& layout, int64_t longest_piece)
      : options_(options), layout_(layout), pieces_(CutLive(layout, longest_piece)) {}

  absl::Status BeginRound(const RoundParameters& parameters, uint32_t members) final {
    if (members < 1 || members > kMaxWorkers) {
      return absl::InvalidArgumentError(absl::StrCat(members, " members; allowed: 1 to ", kMaxWorkers));
    }
    if (open_ && included_ > 0) {
      return absl::FailedPreconditionError(absl::StrCat("round ", parameters_.round, " is open and holds ", included_, " updates"));
    }
    parameters_ = parameters;
    members_ = members;
    included_ = 0;
    weights_ = 0;
    open_ = true;
    Clear();
    return absl::OkStatus();
  }

  absl::Status Add(absl::string_view payload, uint32_t weight) final {
    if (!open_) return absl::FailedPreconditionError("no round is open");
    if (included_ == members_) return absl::FailedPreconditionError(absl::StrCat("the round has its ", members_, " updates already"));
    TRIBUTARY_RETURN_IF_ERROR(CheckWeight(options_, weight));
    TRIBUTARY_RETURN_IF_ERROR(CheckAndSum(payload, weight, 1));
    ++included_;
    weights_ += weight;
    return absl::OkStatus();
  }

  absl::Status Remove(absl::string_view payload, uint32_t weight) final {
    if (!open_ || included_ == 0) return absl::FailedPreconditionError("no round is open that holds an update");
    TRIBUTARY_RETURN_IF_ERROR(CheckWeight(options_, weight));
    TRIBUTARY_RETURN_IF_ERROR(CheckAndSum(payload, weight, -1));
    --included_;
    weights_ -= weight;
    return absl::OkStatus();
  }

  absl::StatusOr<Commit> Finish() final {
    if (!open_) return absl::FailedPreconditionError("no round is open");
    open_ = false;
    Commit commit;
    commit.round = parameters_.round;
    commit.learning_rate = parameters_.learning_rate;
    commit.included = included_;
    if (included_ > 0) commit.payload = Mean(weights_);
    return commit;
  }

  std::string SaveState() const final { return EmptyState("aggregator", options_, layout_); }
  absl::Status RestoreState(absl::string_view state) final {
    TRIBUTARY_RETURN_IF_ERROR(CheckEmptyState("aggregator", options_, layout_, state));
    open_ = false;
    return absl::OkStatus();
  }

 protected:
  virtual void Clear() = 0;
  // Adds, or with `sign` -1 takes back. An error leaves the sum as it was.
  virtual absl::Status CheckAndSum(absl::string_view payload, uint32_t weight, int sign) = 0;
  // `weights`: the sum of those that were added.
  virtual std::string Mean(uint64_t weights) const = 0;

  const OptimizerOptions options_;
  const Layout& layout_;
  const std::vector<Piece> pieces_;

 private:
  RoundParameters parameters_;
  uint32_t members_ = 0;
  uint32_t included_ = 0;
  uint64_t weights_ = 0;
  bool open_ = false;
};

class ValueAggregator final : public DenseAggregator {
 public:
  ValueAggregator(const OptimizerOptions& options, const Layout& layout) : DenseAggregator(options, layout, kValuePiece) {}

  absl::Status Check(absl::string_view payload) const override { return CheckValues(layout_, pieces_, payload); }

 protected:
  void Clear() override { sums_.assign(LiveSize(pieces_), 0); }

  absl::Status CheckAndSum(absl::string_view payload, uint32_t weight, int sign) override {
    TRIBUTARY_RETURN_IF_ERROR(Check(payload));
    // Ties are rounded to even, so that what is taken back is what was added.
    const double units = sign * (weight * kUnitsOfWeight);
    for (const Piece& piece : pieces_) {
      AddFixed(payload.data() + kHeaderSize + piece.live * sizeof(float), units, piece.size, sums_.data() + piece.live);
    }
    return absl::OkStatus();
  }

  std::string Mean(uint64_t weights) const override {
    std::string payload(MaxDensePayloadBytes(options_, layout_), '\0');
    payload[0] = static_cast<char>(kVersion);
    const double divisor = kUnitsOfWeight * static_cast<double>(weights);
    for (const Piece& piece : pieces_) {
      PackMean(sums_.data() + piece.live, divisor, piece.size, payload.data() + kHeaderSize + piece.live * sizeof(float));
    }
    return payload;
  }

 private:
  // A value v of weight w adds round(v * w * kUnitsOfWeight) to its sum.
  static constexpr double kUnitsOfWeight = static_cast<double>(int64_t{1} << kDenseFractionBits) / kMaxWeight;
  std::vector<int64_t> sums_;  // [live elements]
};

class SignAggregator final : public DenseAggregator {
 public:
  SignAggregator(const OptimizerOptions& options, const Layout& layout) : DenseAggregator(options, layout, kSignPiece) {}

  absl::Status Check(absl::string_view payload) const override { return ParseSigns(pieces_, payload, nullptr); }

 protected:
  void Clear() override {
    votes_.assign(LiveSize(pieces_), 0);
    found_.resize(pieces_.size());
  }

  absl::Status CheckAndSum(absl::string_view payload, uint32_t, int factor) override {
    TRIBUTARY_RETURN_IF_ERROR(ParseSigns(pieces_, payload, found_.data()));
    for (size_t p = 0; p < pieces_.size(); ++p) {
      int16_t* votes = votes_.data() + pieces_[p].live;
      ForEachSign(found_[p], pieces_[p].size,
                  [votes, factor](int64_t i, int sign) { votes[i] = static_cast<int16_t>(votes[i] + factor * sign); });
    }
    return absl::OkStatus();
  }

  std::string Mean(uint64_t) const override {
    std::string payload(1, static_cast<char>(kVersion));
    for (const Piece& piece : pieces_) {
      const int16_t* votes = votes_.data() + piece.live;
      AppendSigns(
          piece.size, [votes](int64_t i) { return (votes[i] > 0) - (votes[i] < 0); }, payload);
    }
    return payload;
  }

 private:
  static_assert(kMaxWorkers <= INT16_MAX);
  std::vector<int16_t> votes_;    // [live elements]
  std::vector<SignPiece> found_;  // scratch of one Add
};

// --- Replica --------------------------------------------------------------------------------------------------------------------------

TRIBUTARY_SIMD_CLONES
void SubtractScaled(const char* __restrict mean, float rate, int64_t size, float* __restrict theta) {
  for (int64_t i = 0; i < size; ++i) {
    float value;
    std::memcpy(&value, mean + i * sizeof(value), sizeof(value));
    theta[i] = theta[i] - rate * value;
  }
}

TRIBUTARY_SIMD_CLONES
void NesterovElements(const char* __restrict mean, float rate, float momentum, int64_t size, float* __restrict b, float* __restrict theta) {
  for (int64_t i = 0; i < size; ++i) {
    float value;
    std::memcpy(&value, mean + i * sizeof(value), sizeof(value));
    const float new_b = momentum * b[i] + value;
    b[i] = new_b;
    theta[i] = theta[i] - rate * (value + momentum * new_b);
  }
}

void ApplyValues(const OptimizerOptions& options, const Commit& commit, const Piece& piece, ReplicaState& state) {
  const char* mean = commit.payload.data() + kHeaderSize + piece.live * sizeof(float);
  float* theta = state.theta.data() + piece.theta;
  switch (options.mode) {
    case Mode::kAllReduce: {
      // The payload's values are not aligned; a piece of them fits the first-level cache.
      float gradient[kValuePiece];
      std::memcpy(gradient, mean, piece.size * sizeof(float));
      AdamWStep(options.adam, commit.learning_rate, options.weight_decay, commit.round, absl::MakeConstSpan(gradient, piece.size),
                absl::MakeSpan(state.slots[0]).subspan(piece.theta, piece.size),
                absl::MakeSpan(state.slots[1]).subspan(piece.theta, piece.size), absl::MakeSpan(theta, piece.size));
      break;
    }
    case Mode::kDiLoCo:
      NesterovElements(mean, options.outer_learning_rate, options.outer_momentum, piece.size, state.slots[0].data() + piece.theta, theta);
      break;
    default:
      SubtractScaled(mean, options.outer_learning_rate, piece.size, theta);
      break;
  }
}

void ApplySigns(const OptimizerOptions& options, const Commit& commit, const SignPiece& signs, const Piece& piece, ReplicaState& state) {
  float vote[kSignPiece] = {};
  ForEachSign(signs, piece.size, [&vote](int64_t i, int sign) { vote[i] = static_cast<float>(sign); });
  const float keep = 1.0f - commit.learning_rate * options.weight_decay;
  float* theta = state.theta.data() + piece.theta;
  for (int64_t i = 0; i < piece.size; ++i) theta[i] = theta[i] * keep - commit.learning_rate * vote[i];
}

}  // namespace

std::unique_ptr<UpdateEncoder> MakeDenseEncoder(const OptimizerOptions& options, const Layout& layout) {
  if (options.mode == Mode::kSignSgd) return std::make_unique<SignEncoder>(options, layout);
  return std::make_unique<ValueEncoder>(options, layout);
}

std::unique_ptr<Aggregator> MakeDenseAggregator(const OptimizerOptions& options, const Layout& layout) {
  if (options.mode == Mode::kSignSgd) return std::make_unique<SignAggregator>(options, layout);
  return std::make_unique<ValueAggregator>(options, layout);
}

uint64_t MaxDensePayloadBytes(const OptimizerOptions& options, const Layout& layout) {
  uint64_t bytes = kHeaderSize;
  const bool signs = options.mode == Mode::kSignSgd;
  for (const Piece& piece : CutLive(layout, kSignPiece)) {
    // A mixed piece has at least one zero, whose sign is not sent.
    bytes += signs ? 1 + BitmapBytes(piece.size) + BitmapBytes(piece.size - 1) : static_cast<uint64_t>(piece.size) * sizeof(float);
  }
  return bytes;
}

absl::Status ApplyDense(const OptimizerOptions& options, const Layout& layout, const Commit& commit, ReplicaState& state, int threads) {
  if (options.mode == Mode::kSignSgd) {
    const std::vector<Piece> pieces = CutLive(layout, kSignPiece);
    std::vector<SignPiece> found(pieces.size());
    TRIBUTARY_RETURN_IF_ERROR(ParseSigns(pieces, commit.payload, found.data()));
    ParallelFor(threads, static_cast<int64_t>(pieces.size()), [&](int64_t p) { ApplySigns(options, commit, found[p], pieces[p], state); });
    return absl::OkStatus();
  }
  const std::vector<Piece> pieces = CutLive(layout, kValuePiece);
  TRIBUTARY_RETURN_IF_ERROR(CheckValues(layout, pieces, commit.payload));
  ParallelFor(threads, static_cast<int64_t>(pieces.size()), [&](int64_t p) { ApplyValues(options, commit, pieces[p], state); });
  return absl::OkStatus();
}

}  // namespace tributary::optim
