package telemetry

import (
	"math"
	"strings"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/sdk/instrumentation"
	"go.opentelemetry.io/otel/sdk/metric/metricdata"
	"go.opentelemetry.io/otel/sdk/resource"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/trace"
	"google.golang.org/protobuf/encoding/protowire"
)

// This file writes OTLP in protobuf's wire format: opentelemetry/proto, version
// 1, whose field numbers are the constants below. The test reads everything back
// with the generated types.

// appendMessage appends a field that is a message, written by write. Its length
// is not known before, so it is written first and moved.
func appendMessage(b []byte, num protowire.Number, write func([]byte) []byte) []byte {
	b = protowire.AppendTag(b, num, protowire.BytesType)
	const room = 5
	start := len(b)
	b = write(append(b, make([]byte, room)...))
	size := len(b) - start - room
	head := protowire.AppendVarint(b[:start], uint64(size))
	at := len(head)
	return b[:at+copy(b[at:], b[start+room:])]
}

func appendString(b []byte, num protowire.Number, s string) []byte {
	if s == "" {
		return b
	}
	// A string of protobuf is UTF-8, or the message is refused.
	return protowire.AppendString(protowire.AppendTag(b, num, protowire.BytesType), strings.ToValidUTF8(s, "\uFFFD"))
}

func appendBytes(b []byte, num protowire.Number, v []byte) []byte {
	return protowire.AppendBytes(protowire.AppendTag(b, num, protowire.BytesType), v)
}

func appendVarint(b []byte, num protowire.Number, v uint64) []byte {
	if v == 0 {
		return b
	}
	return protowire.AppendVarint(protowire.AppendTag(b, num, protowire.VarintType), v)
}

func appendFixed64(b []byte, num protowire.Number, v uint64) []byte {
	return protowire.AppendFixed64(protowire.AppendTag(b, num, protowire.Fixed64Type), v)
}

func appendDouble(b []byte, num protowire.Number, v float64) []byte {
	return appendFixed64(b, num, math.Float64bits(v))
}

func appendTime(b []byte, num protowire.Number, t time.Time) []byte {
	if t.IsZero() {
		return b
	}
	return appendFixed64(b, num, uint64(t.UnixNano()))
}

// appendAttributes appends KeyValues.
func appendAttributes(b []byte, num protowire.Number, attributes []attribute.KeyValue) []byte {
	for _, a := range attributes {
		b = appendMessage(b, num, func(b []byte) []byte {
			b = appendString(b, 1, string(a.Key))
			return appendMessage(b, 2, func(b []byte) []byte { return appendValue(b, a.Value) })
		})
	}
	return b
}

// appendValue appends an AnyValue.
func appendValue(b []byte, v attribute.Value) []byte {
	switch v.Type() {
	case attribute.BOOL:
		return protowire.AppendVarint(protowire.AppendTag(b, 2, protowire.VarintType), protowire.EncodeBool(v.AsBool()))
	case attribute.INT64:
		return protowire.AppendVarint(protowire.AppendTag(b, 3, protowire.VarintType), uint64(v.AsInt64()))
	case attribute.FLOAT64:
		return appendDouble(b, 4, v.AsFloat64())
	case attribute.STRINGSLICE:
		return appendMessage(b, 5, func(b []byte) []byte {
			for _, s := range v.AsStringSlice() {
				b = appendMessage(b, 1, func(b []byte) []byte { return appendText(b, s) })
			}
			return b
		})
	}
	// Other kinds are nobody's here; what they say is not lost.
	return appendText(b, v.String())
}

// appendText appends the string of an AnyValue, also an empty one: without the field
// there is no value.
func appendText(b []byte, s string) []byte {
	return appendBytes(b, 1, []byte(strings.ToValidUTF8(s, "\uFFFD")))
}

func appendResource(b []byte, r *resource.Resource) []byte {
	return appendMessage(b, 1, func(b []byte) []byte { return appendAttributes(b, 1, r.Attributes()) })
}

func appendScope(b []byte, s instrumentation.Scope) []byte {
	return appendMessage(b, 1, func(b []byte) []byte {
		b = appendString(appendString(b, 1, s.Name), 2, s.Version)
		return appendAttributes(b, 3, s.Attributes.ToSlice())
	})
}

// appendSpans appends an ExportTraceServiceRequest.
func appendSpans(b []byte, spans []sdktrace.ReadOnlySpan) []byte {
	if len(spans) == 0 {
		return b
	}
	var scopes []instrumentation.Scope // in the order of their first span
	of := map[instrumentation.Scope][]sdktrace.ReadOnlySpan{}
	for _, s := range spans {
		scope := s.InstrumentationScope()
		if of[scope] == nil {
			scopes = append(scopes, scope)
		}
		of[scope] = append(of[scope], s)
	}
	return appendMessage(b, 1, func(b []byte) []byte {
		b = appendResource(b, spans[0].Resource()) // all are of one process
		for _, scope := range scopes {
			b = appendMessage(b, 2, func(b []byte) []byte {
				b = appendScope(b, scope)
				for _, s := range of[scope] {
					b = appendMessage(b, 2, func(b []byte) []byte { return appendSpan(b, s) })
				}
				return appendString(b, 3, scope.SchemaURL)
			})
		}
		return b
	})
}

func appendSpan(b []byte, s sdktrace.ReadOnlySpan) []byte {
	c, parent := s.SpanContext(), s.Parent()
	traceID, spanID, parentID := c.TraceID(), c.SpanID(), parent.SpanID()
	b = appendBytes(b, 1, traceID[:])
	b = appendBytes(b, 2, spanID[:])
	b = appendString(b, 3, c.TraceState().String())
	if parentID.IsValid() {
		b = appendBytes(b, 4, parentID[:])
	}
	b = appendString(b, 5, s.Name())
	b = appendVarint(b, 6, uint64(s.SpanKind())) // the same numbers
	b = appendTime(b, 7, s.StartTime())
	b = appendTime(b, 8, s.EndTime())
	b = appendAttributes(b, 9, s.Attributes())
	b = appendVarint(b, 10, uint64(s.DroppedAttributes()))
	for _, e := range s.Events() {
		b = appendMessage(b, 11, func(b []byte) []byte {
			b = appendString(appendTime(b, 1, e.Time), 2, e.Name)
			return appendVarint(appendAttributes(b, 3, e.Attributes), 4, uint64(e.DroppedAttributeCount))
		})
	}
	b = appendVarint(b, 12, uint64(s.DroppedEvents()))
	for _, l := range s.Links() {
		b = appendMessage(b, 13, func(b []byte) []byte { return appendLink(b, l) })
	}
	b = appendVarint(b, 14, uint64(s.DroppedLinks()))
	if status := s.Status(); status.Code != codes.Unset {
		b = appendMessage(b, 15, func(b []byte) []byte {
			code := uint64(1) // OK
			if status.Code == codes.Error {
				code = 2
			}
			return appendVarint(appendString(b, 2, status.Description), 3, code)
		})
	}
	return appendFlags(b, 16, c, parent.IsRemote())
}

func appendLink(b []byte, l sdktrace.Link) []byte {
	traceID, spanID := l.SpanContext.TraceID(), l.SpanContext.SpanID()
	b = appendBytes(appendBytes(b, 1, traceID[:]), 2, spanID[:])
	b = appendString(b, 3, l.SpanContext.TraceState().String())
	b = appendAttributes(b, 4, l.Attributes)
	b = appendVarint(b, 5, uint64(l.DroppedAttributeCount))
	return appendFlags(b, 6, l.SpanContext, l.SpanContext.IsRemote())
}

// appendFlags appends the flags of W3C, with the two bits that say whether what
// this is linked to or comes from is in another process.
func appendFlags(b []byte, num protowire.Number, c trace.SpanContext, remote bool) []byte {
	flags := uint32(c.TraceFlags()) | 0x100
	if remote {
		flags |= 0x200
	}
	return protowire.AppendFixed32(protowire.AppendTag(b, num, protowire.Fixed32Type), flags)
}

// appendMetrics appends an ExportMetricsServiceRequest.
func appendMetrics(b []byte, m *metricdata.ResourceMetrics) []byte {
	return appendMessage(b, 1, func(b []byte) []byte {
		b = appendResource(b, m.Resource)
		for _, scope := range m.ScopeMetrics {
			b = appendMessage(b, 2, func(b []byte) []byte {
				b = appendScope(b, scope.Scope)
				for _, m := range scope.Metrics {
					b = appendMessage(b, 2, func(b []byte) []byte { return appendMetric(b, m) })
				}
				return appendString(b, 3, scope.Scope.SchemaURL)
			})
		}
		return b
	})
}

// appendMetric appends a Metric. Exponential histograms and summaries are not
// made by anything here.
func appendMetric(b []byte, m metricdata.Metrics) []byte {
	b = appendString(appendString(appendString(b, 1, m.Name), 2, m.Description), 3, m.Unit)
	switch d := m.Data.(type) {
	case metricdata.Gauge[int64]:
		return appendMessage(b, 5, func(b []byte) []byte { return appendPoints(b, d.DataPoints) })
	case metricdata.Gauge[float64]:
		return appendMessage(b, 5, func(b []byte) []byte { return appendPoints(b, d.DataPoints) })
	case metricdata.Sum[int64]:
		return appendMessage(b, 7, func(b []byte) []byte {
			return appendSum(appendPoints(b, d.DataPoints), d.Temporality, d.IsMonotonic)
		})
	case metricdata.Sum[float64]:
		return appendMessage(b, 7, func(b []byte) []byte {
			return appendSum(appendPoints(b, d.DataPoints), d.Temporality, d.IsMonotonic)
		})
	case metricdata.Histogram[int64]:
		return appendMessage(b, 9, func(b []byte) []byte {
			return appendTemporality(appendHistogram(b, d.DataPoints), d.Temporality)
		})
	case metricdata.Histogram[float64]:
		return appendMessage(b, 9, func(b []byte) []byte {
			return appendTemporality(appendHistogram(b, d.DataPoints), d.Temporality)
		})
	}
	return b
}

func appendTemporality(b []byte, t metricdata.Temporality) []byte {
	v := uint64(2) // cumulative
	if t == metricdata.DeltaTemporality {
		v = 1
	}
	return appendVarint(b, 2, v)
}

func appendSum(b []byte, t metricdata.Temporality, monotonic bool) []byte {
	return appendVarint(appendTemporality(b, t), 3, protowire.EncodeBool(monotonic))
}

// appendNumber appends a number as one of two fields.
func appendNumber[N int64 | float64](b []byte, asDouble, asInt protowire.Number, n N) []byte {
	switch n := any(n).(type) {
	case int64:
		return appendFixed64(b, asInt, uint64(n))
	case float64:
		return appendDouble(b, asDouble, n)
	}
	return b
}

func appendPoints[N int64 | float64](b []byte, points []metricdata.DataPoint[N]) []byte {
	for _, p := range points {
		b = appendMessage(b, 1, func(b []byte) []byte {
			b = appendTime(appendTime(b, 2, p.StartTime), 3, p.Time)
			b = appendNumber(b, 4, 6, p.Value)
			return appendAttributes(appendExemplars(b, 5, p.Exemplars), 7, p.Attributes.ToSlice())
		})
	}
	return b
}

func appendHistogram[N int64 | float64](b []byte, points []metricdata.HistogramDataPoint[N]) []byte {
	for _, p := range points {
		b = appendMessage(b, 1, func(b []byte) []byte {
			b = appendTime(appendTime(b, 2, p.StartTime), 3, p.Time)
			b = appendFixed64(b, 4, p.Count)
			b = appendDouble(b, 5, float64(p.Sum))
			b = appendMessage(b, 6, func(b []byte) []byte {
				for _, n := range p.BucketCounts {
					b = protowire.AppendFixed64(b, n)
				}
				return b
			})
			b = appendMessage(b, 7, func(b []byte) []byte {
				for _, bound := range p.Bounds {
					b = protowire.AppendFixed64(b, math.Float64bits(bound))
				}
				return b
			})
			b = appendAttributes(appendExemplars(b, 8, p.Exemplars), 9, p.Attributes.ToSlice())
			if least, ok := p.Min.Value(); ok {
				b = appendDouble(b, 11, float64(least))
			}
			if most, ok := p.Max.Value(); ok {
				b = appendDouble(b, 12, float64(most))
			}
			return b
		})
	}
	return b
}

// appendExemplars appends single measurements with the spans they were made in.
func appendExemplars[N int64 | float64](b []byte, num protowire.Number, exemplars []metricdata.Exemplar[N]) []byte {
	for _, e := range exemplars {
		b = appendMessage(b, num, func(b []byte) []byte {
			b = appendNumber(appendTime(b, 2, e.Time), 3, 6, e.Value)
			if len(e.SpanID) > 0 {
				b = appendBytes(appendBytes(b, 4, e.SpanID), 5, e.TraceID)
			}
			return appendAttributes(b, 7, e.FilteredAttributes)
		})
	}
	return b
}
