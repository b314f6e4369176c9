package telemetry

import (
	"bytes"
	"context"
	"os"
	"strconv"
	"syscall"
	"time"

	"go.opentelemetry.io/contrib/instrumentation/runtime"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/metric"
)

// measureProcess measures what every process has: Go's runtime, the time it used
// and the memory it holds.
func (t *Telemetry) measureProcess() error {
	if err := runtime.Start(runtime.WithMeterProvider(t.metrics)); err != nil {
		return err
	}
	m := t.metrics.Meter(scope + "process")
	user, system := metric.WithAttributes(attribute.String("cpu.mode", "user")), metric.WithAttributes(attribute.String("cpu.mode", "system"))
	if _, err := m.Float64ObservableCounter("process.cpu.time", metric.WithUnit("s"),
		metric.WithDescription("Processor time that the process used."),
		metric.WithFloat64Callback(func(_ context.Context, o metric.Float64Observer) error {
			var u syscall.Rusage
			if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
				return err
			}
			o.Observe(seconds(u.Utime), user)
			o.Observe(seconds(u.Stime), system)
			return nil
		})); err != nil {
		return err
	}
	if _, err := m.Int64ObservableUpDownCounter("process.memory.usage", metric.WithUnit("By"),
		metric.WithDescription("Physical memory that the process holds."),
		metric.WithInt64Callback(func(_ context.Context, o metric.Int64Observer) error {
			if n, ok := resident(); ok {
				o.Observe(n)
			}
			return nil
		})); err != nil {
		return err
	}
	begun := time.Now()
	_, err := m.Float64ObservableGauge("process.uptime", metric.WithUnit("s"),
		metric.WithDescription("How long the process has been running."),
		metric.WithFloat64Callback(func(_ context.Context, o metric.Float64Observer) error {
			o.Observe(time.Since(begun).Seconds())
			return nil
		}))
	return err
}

func seconds(t syscall.Timeval) float64 { return float64(t.Sec) + float64(t.Usec)/1e6 }

// resident is the memory that the process holds, where the system tells it as
// Linux does.
func resident() (int64, bool) {
	b, err := os.ReadFile("/proc/self/statm")
	if err != nil {
		return 0, false
	}
	fields := bytes.Fields(b)
	if len(fields) < 2 {
		return 0, false
	}
	pages, err := strconv.ParseInt(string(fields[1]), 10, 64)
	return pages * int64(os.Getpagesize()), err == nil
}
