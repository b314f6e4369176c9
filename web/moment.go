package web

import "time"

// A moment is a time as a page shows it. We do not know the reader's zone: it
// is that of Greenwich.
type moment struct {
	// ISO is for programs (HTML time element, datetime).
	ISO  string
	Text string
	// Within is Text inside of a sentence.
	Within string
}

// day is the date of t.
func (s *Web) day(t time.Time) moment {
	t = t.UTC()
	date := s.frame.text.Date(t)
	return moment{t.Format(time.DateOnly), date, date}
}

// recent is the time of day for today, and the date for what was before.
func (s *Web) recent(t time.Time) moment {
	t = t.UTC()
	if t.Format(time.DateOnly) != s.now().UTC().Format(time.DateOnly) {
		return s.day(t)
	}
	text := s.frame.text
	clock := text.Clock(t)
	return moment{t.Format(time.RFC3339), text.plain("common.today", "time", clock), text.plain("common.today_within", "time", clock)}
}

// exact is the date and the time of day.
func (s *Web) exact(t time.Time) moment {
	t = t.UTC()
	text := s.frame.text
	full := text.plain("common.date_time", "date", text.Date(t), "time", text.Clock(t))
	return moment{t.Format(time.RFC3339), full, full}
}
