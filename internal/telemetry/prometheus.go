package telemetry

import (
	"bytes"
	"cmp"
	"net/http"
	"slices"
	"strconv"
	"strings"

	"go.opentelemetry.io/otel/attribute"
	sdkmetric "go.opentelemetry.io/otel/sdk/metric"
	"go.opentelemetry.io/otel/sdk/metric/metricdata"
)

// A scrape answers with every metric in the text format of Prometheus 0.0.4.
// Names are made as OpenTelemetry's specification of the two says: points become
// underscores, the unit stands at the end, and _total behind what only grows.
type scrape struct {
	reader  *sdkmetric.ManualReader
	trouble *trouble
}

func (s scrape) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	var m metricdata.ResourceMetrics
	if err := s.reader.Collect(r.Context(), &m); err != nil {
		s.trouble.tell("metrics were not collected", err)
		http.Error(w, "metrics were not collected", http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "text/plain; version=0.0.4; charset=utf-8")
	var page bytes.Buffer
	p := exposition{&page, map[string]bool{}}
	p.head("target_info", "gauge", "What this process is.")
	p.sample("target_info", p.labels(m.Resource.Set(), "", ""), 1)
	var all []metricdata.Metrics
	for _, scope := range m.ScopeMetrics {
		all = append(all, scope.Metrics...)
	}
	// Two packages may measure the same, as both databases do, and the lines of a
	// metric have to stand together.
	slices.SortStableFunc(all, func(a, b metricdata.Metrics) int { return cmp.Compare(a.Name, b.Name) })
	for _, metric := range all {
		p.metric(metric)
	}
	_, _ = w.Write(page.Bytes()) // the reader has gone: nobody to tell
}

type exposition struct {
	b *bytes.Buffer
	// begun are the metrics that have had their head, which comes once.
	begun map[string]bool
}

func (p exposition) head(name, kind, about string) {
	if p.begun[name] {
		return
	}
	p.begun[name] = true
	if about != "" {
		p.b.WriteString("# HELP " + name + " " + escapedHelp.Replace(about) + "\n")
	}
	p.b.WriteString("# TYPE " + name + " " + kind + "\n")
}

func (p exposition) sample(name, labels string, value float64) {
	p.b.WriteString(name + labels + " " + strconv.FormatFloat(value, 'g', -1, 64) + "\n")
}

func (p exposition) metric(m metricdata.Metrics) {
	switch d := m.Data.(type) {
	case metricdata.Gauge[int64]:
		points(p, m, "gauge", d.DataPoints)
	case metricdata.Gauge[float64]:
		points(p, m, "gauge", d.DataPoints)
	case metricdata.Sum[int64]:
		points(p, m, kindOf(d.IsMonotonic), d.DataPoints)
	case metricdata.Sum[float64]:
		points(p, m, kindOf(d.IsMonotonic), d.DataPoints)
	case metricdata.Histogram[int64]:
		histogram(p, m, d.DataPoints)
	case metricdata.Histogram[float64]:
		histogram(p, m, d.DataPoints)
	}
}

func kindOf(monotonic bool) string {
	if monotonic {
		return "counter"
	}
	return "gauge"
}

func points[N int64 | float64](p exposition, m metricdata.Metrics, kind string, points []metricdata.DataPoint[N]) {
	name := promName(m.Name, m.Unit, kind)
	p.head(name, kind, m.Description)
	for _, point := range points {
		p.sample(name, p.labels(&point.Attributes, "", ""), float64(point.Value))
	}
}

func histogram[N int64 | float64](p exposition, m metricdata.Metrics, points []metricdata.HistogramDataPoint[N]) {
	name := promName(m.Name, m.Unit, "histogram")
	p.head(name, "histogram", m.Description)
	for _, point := range points {
		below := uint64(0)
		for i, n := range point.BucketCounts {
			below += n
			le := "+Inf"
			if i < len(point.Bounds) {
				le = strconv.FormatFloat(point.Bounds[i], 'g', -1, 64)
			}
			p.sample(name+"_bucket", p.labels(&point.Attributes, "le", le), float64(below))
		}
		labels := p.labels(&point.Attributes, "", "")
		p.sample(name+"_sum", labels, float64(point.Sum))
		p.sample(name+"_count", labels, float64(point.Count))
	}
}

// labels are the attributes, and one more label unless it has no name. Keys that
// make the same name are one label with both values: a name that came twice would
// have the whole page refused.
func (p exposition) labels(set *attribute.Set, name, value string) string {
	var names, values []string
	for i := set.Iter(); i.Next(); { // in the order of their keys
		a := i.Attribute()
		key, v := promLabel(string(a.Key)), strings.ToValidUTF8(a.Value.String(), "\uFFFD")
		if at := slices.Index(names, key); at >= 0 {
			values[at] += ";" + v
			continue
		}
		names, values = append(names, key), append(values, v)
	}
	if name != "" {
		names, values = append(names, name), append(values, value)
	}
	if len(names) == 0 {
		return ""
	}
	pairs := make([]string, len(names))
	for i := range names {
		pairs[i] = names[i] + `="` + escapedLabel.Replace(values[i]) + `"`
	}
	return "{" + strings.Join(pairs, ",") + "}"
}

// promLabel is the name of a label there, which begins with no digit, nor with the
// two underscores that are Prometheus' own.
func promLabel(key string) string {
	word := promWord(key)
	if word == "" || word[0] >= '0' && word[0] <= '9' || strings.HasPrefix(word, "__") {
		word = "key_" + word
	}
	return word
}

// promName is the name of a metric there.
func promName(name, unit, kind string) string {
	words := []string{promWord(name)}
	if unit = promUnit(unit, kind); unit != "" && !slices.Contains(strings.Split(words[0], "_"), unit) {
		words = append(words, unit)
	}
	if kind == "counter" && !strings.HasSuffix(words[0], "_total") {
		words = append(words, "total")
	}
	return strings.Join(words, "_")
}

// promUnit is the word for a unit of UCUM; one in braces says what is counted,
// which the name does already.
func promUnit(unit, kind string) string {
	switch unit {
	case "s":
		return "seconds"
	case "ms":
		return "milliseconds"
	case "By":
		return "bytes"
	case "%":
		return "percent"
	case "1":
		if kind == "gauge" {
			return "ratio"
		}
	}
	return ""
}

// promWord is s with an underscore for what may not stand in a name.
func promWord(s string) string {
	return strings.Map(func(r rune) rune {
		if r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' {
			return r
		}
		return '_'
	}, s)
}

var (
	escapedHelp  = strings.NewReplacer(`\`, `\\`, "\n", `\n`)
	escapedLabel = strings.NewReplacer(`\`, `\\`, "\n", `\n`, `"`, `\"`)
)
