// What Go and the controller manager make of durations and schedules, for tests that compare ours with it.
// Each line of the input is D or C, a tab, and a JSON string; each line of the output is its answer:
// nanoseconds or "error" for a duration; "fires", "never" or "error" for a schedule.
package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"os"
	"strings"
	"time"

	"github.com/robfig/cron/v3"
)

func duration(text string) string {
	d, err := time.ParseDuration(text)
	if err != nil {
		return "error"
	}
	return fmt.Sprint(int64(d))
}

// The API server refuses time zones in a schedule before it parses the rest.
func schedule(text string) string {
	if strings.Contains(text, "TZ") {
		return "error"
	}
	s, err := cron.ParseStandard(text)
	if err != nil {
		return "error"
	}
	if s.Next(time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)).IsZero() {
		return "never"
	}
	return "fires"
}

func main() {
	in := bufio.NewScanner(os.Stdin)
	in.Buffer(nil, 1<<20)
	out := bufio.NewWriter(os.Stdout)
	defer out.Flush()
	for in.Scan() {
		kind, quoted, _ := strings.Cut(in.Text(), "\t")
		var text string
		if err := json.Unmarshal([]byte(quoted), &text); err != nil {
			panic(err)
		}
		if kind == "D" {
			fmt.Fprintln(out, duration(text))
		} else {
			fmt.Fprintln(out, schedule(text))
		}
	}
}
