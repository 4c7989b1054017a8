package transport

import (
	"io"
	"log/slog"
	"strings"
	"time"
)

// logTime is the form of times in the log of a plugin; go-plugin's host reads
// it.
const logTime = "2006-01-02T15:04:05.000000Z07:00"

// newLog returns a log whose lines a host takes apart: JSON with "@level",
// "@message" and "@timestamp". Levels below slog's debug are not written.
func newLog(w io.Writer) *slog.Logger {
	return slog.New(slog.NewJSONHandler(w, &slog.HandlerOptions{
		Level: slog.LevelDebug,
		ReplaceAttr: func(groups []string, a slog.Attr) slog.Attr {
			if len(groups) > 0 {
				return a
			}
			switch v := a.Value.Any().(type) {
			case slog.Level:
				if a.Key == slog.LevelKey {
					return slog.String("@level", levelName(v))
				}
			case time.Time:
				if a.Key == slog.TimeKey {
					return slog.String("@timestamp", v.Format(logTime))
				}
			default:
				if a.Key == slog.MessageKey {
					return slog.Attr{Key: "@message", Value: a.Value}
				}
				// An attribute must not pass for one of the three.
				if strings.HasPrefix(a.Key, "@") {
					a.Key = strings.TrimLeft(a.Key, "@") + "_"
				}
			}
			return a
		},
	}))
}

func levelName(l slog.Level) string {
	switch {
	case l < slog.LevelInfo:
		return "debug"
	case l < slog.LevelWarn:
		return "info"
	case l < slog.LevelError:
		return "warn"
	}
	return "error"
}
