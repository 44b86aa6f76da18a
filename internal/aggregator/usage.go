package aggregator

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"sort"
	"strconv"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
)

// Window is a span of time that usage is summed up over.
type Window string

// The windows of usage snapshots, in UTC.
const (
	Hourly  Window = "hourly"
	Daily   Window = "daily"
	Monthly Window = "monthly"
)

const isoLayout = "2006-01-02T15:04:05Z"

// ParseWindows reads a list such as "hourly,daily".
func ParseWindows(list string) (windows []Window, err error) {
	for name := range strings.SplitSeq(list, ",") {
		w := Window(strings.TrimSpace(name))
		if w != Hourly && w != Daily && w != Monthly {
			return nil, fmt.Errorf("window %q is unknown: want hourly, daily or monthly", name)
		}
		if !slices.Contains(windows, w) {
			windows = append(windows, w)
		}
	}
	return windows, nil
}

// start is the beginning of the window that a time is in.
func (w Window) start(t time.Time) string {
	t = t.UTC()
	hour := 0
	day := t.Day()
	switch w {
	case Hourly:
		hour = t.Hour()
	case Monthly:
		day = 1
	}
	return time.Date(t.Year(), t.Month(), day, hour, 0, 0, 0, time.UTC).Format(isoLayout)
}

// sortKey is the sort key of a snapshot. The key of the hour 00 is that of no day and no month: those have
// their window behind the start, which leaves the order of the keys as it is.
func (w Window) sortKey(resource, start string) string {
	key := "#USAGE#" + resource + "#" + start
	if w != Hourly {
		key += "#" + string(w)
	}
	return key
}

// snapshotKey names a usage snapshot.
type snapshotKey struct {
	namespace, entity, resource string
	window                      Window
	start                       string
}

// Usage is what is to be added to one snapshot.
type Usage struct {
	key snapshotKey
	// milli are millitokens by limit, overdrawn the records that left a soft limit below zero.
	milli     map[string]int64
	overdrawn map[string]int64
	events    int64
	// first is the place of the first record in the batch that is part of it.
	first int
}

// usage sums up what the records of a batch consumed, by snapshot, in the order of their first records.
// Records that cannot be read are left out and reported.
func (a *Aggregator) usage(records []Record) (list []*Usage, unreadable int) {
	sums := map[snapshotKey]*Usage{}
	for at := range records {
		key, changed, overdrawn, err := consumption(&records[at])
		if err != nil {
			unreadable++
			a.log.Warn("record left out of the usage", "sequence_number", records[at].SequenceNumber, "error", err)
			continue
		}
		if len(changed) == 0 {
			continue
		}
		for _, window := range a.config.Windows {
			k := snapshotKey{key.namespace, key.entity, key.resource, window, window.start(records[at].At)}
			u := sums[k]
			if u == nil {
				u = &Usage{key: k, milli: map[string]int64{}, overdrawn: map[string]int64{}, first: at}
				sums[k] = u
				list = append(list, u)
			}
			u.events++
			for limit, milli := range changed {
				u.milli[limit] += milli
			}
			for _, limit := range overdrawn {
				u.overdrawn[limit]++
			}
		}
	}
	return list, unreadable
}

// consumption is what a record says was consumed of each limit, in millitokens, and which soft limits it
// left overdrawn. What a bucket was created with counts, too; a shard that was cloned has consumed nothing.
func consumption(r *Record) (key bucketKey, milli map[string]int64, overdrawn []string, err error) {
	if r.Event != Insert && r.Event != Modify || textOf(r.New, "SK") != stateKey {
		return key, nil, nil, nil
	}
	key, ok := parseKey(textOf(r.New, "PK"))
	if !ok || textOf(r.New, "entity_id") == "" {
		return key, nil, nil, nil
	}
	for _, name := range limitNames(r.New, "tc") {
		if name == infrastructure {
			continue
		}
		after, err := integerOf(r.New, attribute(name, "tc"))
		if err != nil {
			return key, nil, nil, err
		}
		before, err := integerOf(r.Old, attribute(name, "tc"))
		if err != nil {
			return key, nil, nil, err
		}
		if r.Event == Modify && !before.set && !isSeed(r, name) || after.value == before.value {
			continue
		}
		if milli == nil {
			milli = map[string]int64{}
		}
		milli[name] = after.value - before.value
		tokens, err := integerOf(r.New, attribute(name, "tk"))
		if err != nil {
			return key, nil, nil, err
		}
		if _, soft := r.New[attribute(name, "soft")]; soft && after.value > before.value && tokens.value < 0 {
			overdrawn = append(overdrawn, name)
		}
	}
	return key, milli, overdrawn, nil
}

// isSeed reports whether a limit came to the bucket with a record: then its counter began at 0. A counter
// that is new beside a limit that was there began elsewhere.
func isSeed(r *Record, name string) bool {
	_, was := r.Old[attribute(name, "tk")]
	return !was
}

// write adds usage to its snapshot, which is made if there is none.
func (a *Aggregator) writeUsage(ctx context.Context, u *Usage, now time.Time) error {
	k := &u.key
	names := map[string]string{"#resource": "resource", "#window": "window", "#start": "window_start", "#events": "total_events", "#ttl": "ttl"}
	values := Item{
		":entity": text(k.entity), ":resource": text(k.resource), ":window": text(string(k.window)), ":start": text(k.start),
		":g2pk": text(k.namespace + "/RESOURCE#" + k.resource), ":g2sk": text("USAGE#" + k.start + "#" + k.entity),
		":g4pk": text(k.namespace), ":g4sk": text(k.namespace + "/ENTITY#" + k.entity),
		":ttl": integer(now.Unix() + int64(a.config.RetentionDays)*86400), ":events": integer(u.events),
	}
	adds := []string{"#events :events"}
	add := func(kind string, amounts map[string]int64, suffix string) {
		for i, limit := range slices.Sorted(maps.Keys(amounts)) {
			token := kind + strconv.Itoa(i)
			names["#"+token], values[":"+token] = limit+suffix, integer(amounts[limit])
			adds = append(adds, "#"+token+" :"+token)
		}
	}
	tokens := map[string]int64{}
	for limit, milli := range u.milli {
		tokens[limit] = floorTokens(milli)
	}
	add("l", tokens, "")
	add("o", u.overdrawn, "#od")
	_, err := a.config.Table.UpdateItem(ctx, &dynamodb.UpdateItemInput{
		TableName: &a.config.TableName,
		Key:       Item{"PK": text(k.namespace + "/ENTITY#" + k.entity), "SK": text(k.window.sortKey(k.resource, k.start))},
		UpdateExpression: aws.String("SET entity_id = :entity, #resource = if_not_exists(#resource, :resource), #window = if_not_exists(#window, :window), " +
			"#start = if_not_exists(#start, :start), GSI2PK = :g2pk, GSI2SK = :g2sk, GSI4PK = if_not_exists(GSI4PK, :g4pk), " +
			"GSI4SK = if_not_exists(GSI4SK, :g4sk), #ttl = if_not_exists(#ttl, :ttl) ADD " + strings.Join(adds, ", ")),
		ExpressionAttributeNames: names, ExpressionAttributeValues: values,
	})
	return err
}

func sortLimits(limits []limitImage) {
	sort.Slice(limits, func(i, j int) bool { return limits[i].name < limits[j].name })
}
