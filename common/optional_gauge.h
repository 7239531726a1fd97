// A gauge that has no series as long as its value is not known: zero would be a value too.
#ifndef TRIBUTARY_COMMON_OPTIONAL_GAUGE_H_
#define TRIBUTARY_COMMON_OPTIONAL_GAUGE_H_

#include <prometheus/family.h>
#include <prometheus/gauge.h>
#include <prometheus/labels.h>

#include <mutex>
#include <utility>

namespace tributary {

// At most one series of a family. Thread-safe.
class OptionalGauge {
 public:
  // `family` outlives the gauge.
  explicit OptionalGauge(prometheus::Family<prometheus::Gauge>& family, prometheus::Labels labels = {})
      : family_(family), labels_(std::move(labels)) {}

  void Set(double value) {
    const std::lock_guard<std::mutex> lock(mutex_);
    if (gauge_ == nullptr) {
      gauge_ = &family_.Add(labels_);
    }
    gauge_->Set(value);
  }
  // Under these labels from now on; the series under the old ones goes.
  void Set(double value, prometheus::Labels labels) {
    Clear();
    {
      const std::lock_guard<std::mutex> lock(mutex_);
      labels_ = std::move(labels);
    }
    Set(value);
  }
  // No value is known any more.
  void Clear() {
    const std::lock_guard<std::mutex> lock(mutex_);
    if (gauge_ != nullptr) {
      family_.Remove(std::exchange(gauge_, nullptr));
    }
  }

 private:
  prometheus::Family<prometheus::Gauge>& family_;
  std::mutex mutex_;
  prometheus::Labels labels_;
  prometheus::Gauge* gauge_ = nullptr;
};

}  // namespace tributary

#endif  // TRIBUTARY_COMMON_OPTIONAL_GAUGE_H_
