package dynamostore

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"regexp"
	"strconv"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"

	"github.com/zeroae/zae-limiter-go/limiter"
)

// What this client identifies itself as on a shared table: it follows the wire format of release
// 0.17 of the Python client, whose schema is 0.10.0.
const (
	WireVersion   = "0.17.0"
	SchemaVersion = "0.10.0"
)

// VersionError says that a table's version record does not admit this client.
type VersionError struct {
	SchemaVersion    string // of the record; "" when it has none
	ClientMinVersion string // of the record
	LambdaVersion    string // of the record
	Reason           string
}

// ErrNoVersionRecord says that a table was not set up: it has no version record.
var ErrNoVersionRecord = errors.New("no version record")

// Unwrap returns limiter.ErrVersion.
func (e *VersionError) Unwrap() error { return limiter.ErrVersion }

func (e *VersionError) Error() string { return "version of the table: " + e.Reason }

// VersionRecord is what a table says about the clients that may use it. Members that it does not have
// are empty.
type VersionRecord struct {
	SchemaVersion    string
	ClientMinVersion string
	LambdaVersion    string // release of the stack's functions; "" where none are deployed
	UpdatedAt        string // RFC 3339
	UpdatedBy        string
}

// Admits refuses, with a *VersionError, a schema of another major version, and a minimum above this
// client's release line. An absent schema version counts as 1.0.0, as for the other clients.
func (r *VersionRecord) Admits() error {
	schema, err := parseVersion(cmp.Or(r.SchemaVersion, "1.0.0"))
	if err != nil || schema.major != 0 {
		return r.refuse("schema version %q, this client knows %s", r.SchemaVersion, SchemaVersion)
	}
	own, _ := parseVersion(WireVersion)
	lowest, err := parseVersion(r.ClientMinVersion)
	// A minimum that cannot be read restricts nobody: its writer could not have meant a release.
	if err == nil && cmp.Or(cmp.Compare(lowest.major, own.major), cmp.Compare(lowest.minor, own.minor)) > 0 {
		return r.refuse("clients must be at %s or later, this one is at %s", r.ClientMinVersion, WireVersion)
	}
	return nil
}

func (r *VersionRecord) refuse(format string, args ...any) error {
	return &VersionError{r.SchemaVersion, r.ClientMinVersion, r.LambdaVersion, fmt.Sprintf(format, args...)}
}

// admitsFunctions refuses functions of an earlier release than this client.
func (r *VersionRecord) admitsFunctions() error {
	if r.LambdaVersion == "" || r.readersAt(WireVersion) {
		return nil
	}
	return r.refuse("the stack's functions are at %s, this client is at %s", r.LambdaVersion, WireVersion)
}

// readersAt says whether the functions that read the table are known to be at a release or later. What
// follows a release number does not count, and nor does a version that cannot be read.
func (r *VersionRecord) readersAt(release string) bool {
	if r.LambdaVersion == WireVersion {
		return true
	}
	have, err := parseVersion(r.LambdaVersion)
	want, wantErr := parseVersion(release)
	return err == nil && wantErr == nil && have.compareRelease(want) >= 0
}

// RequireReaders fails with a *VersionError unless the version record shows that the functions which
// read the table are at the release or later: they would misread what is about to be stored. With raise
// it then keeps clients before the release from opening the table. The minimum is never lowered.
func (t *Table) RequireReaders(ctx context.Context, release string, raise bool) error {
	const attempts = 3
	for attempt := 1; ; attempt++ {
		record, err := t.readVersion(ctx, true)
		if err != nil {
			return err
		}
		if record == nil {
			record = &VersionRecord{}
			return record.refuse("readers must be at %s or later, and the table has no version record", release)
		}
		if !record.readersAt(release) {
			if record.LambdaVersion == "" {
				return record.refuse("readers must be at %s or later, and the version record names none", release)
			}
			return record.refuse("readers must be at %s or later, the stack's functions are at %s", release, record.LambdaVersion)
		}
		lowest, higher := raisedMinimum(record.ClientMinVersion, WireVersion, release)
		if !raise || !higher {
			return nil
		}
		err = t.replaceMinimum(ctx, record.ClientMinVersion, lowest)
		if err == nil || !isConditionFailed(err) || attempt == attempts {
			return wrap("raise the minimum version of", t.name, err)
		}
	}
}

func (t *Table) replaceMinimum(ctx context.Context, read, lowest string) error {
	var e expression
	e.set("client_min_version", str(lowest))
	e.require("attribute_exists(PK)")
	if read == "" {
		e.require("attribute_not_exists(client_min_version)")
	} else {
		e.require("client_min_version = " + e.value(str(read)))
	}
	_, err := t.api.UpdateItem(ctx, &dynamodb.UpdateItemInput{
		TableName: t.tableN, Key: key(systemPK(systemNamespace), skVersion),
		UpdateExpression: e.update(), ConditionExpression: e.condition(), ExpressionAttributeValues: e.valuesOrNil(),
	})
	return err
}

// raisedMinimum is the minimum for clients after a feature of a release was stored by a client of version
// own, and whether that is above the stored one. The writer never locks itself out.
func raisedMinimum(stored, own, release string) (string, bool) {
	writer, err := parseVersion(own)
	if err != nil {
		return stored, false
	}
	want, err := parseVersion(release)
	if err != nil {
		return stored, false
	}
	target := release
	if writer.compare(want) < 0 {
		target, want = own, writer
	}
	have, err := parseVersion(stored)
	if err == nil && have.compare(want) >= 0 {
		return stored, false
	}
	return target, true
}

// DeclareReaders records that nothing of an earlier release than this client reads the table: what an
// operator states who deployed no functions. Features that depend on their release may then be
// stored. A record that names functions of an earlier release is only replaced with replace, since nothing
// shows that they are gone; without, that is a *VersionError.
func (t *Table) DeclareReaders(ctx context.Context, replace bool) error {
	if err := t.EnsureVersion(ctx); err != nil {
		return err
	}
	record, err := t.readVersion(ctx, true)
	if err != nil || record == nil {
		return err
	}
	if record.readersAt(WireVersion) {
		return nil
	}
	if record.LambdaVersion != "" && !replace {
		return record.admitsFunctions()
	}
	var e expression
	e.set("lambda_version", str(WireVersion))
	e.set("updated_at", str(isoTime(t.clock())))
	e.set("updated_by", strOrNull(t.opts.UpdatedBy))
	e.require("attribute_exists(PK)")
	_, err = t.api.UpdateItem(ctx, &dynamodb.UpdateItemInput{
		TableName: t.tableN, Key: key(systemPK(systemNamespace), skVersion),
		UpdateExpression: e.update(), ConditionExpression: e.condition(), ExpressionAttributeValues: e.valuesOrNil(),
	})
	return wrap("declare the readers of", t.name, err)
}

// RequireReaders implements limiter.AdminStore.
func (s *Store) RequireReaders(ctx context.Context, release string, raise bool) error {
	return s.t.RequireReaders(ctx, release, raise)
}

// EnsureVersion writes the version record when there is none, and otherwise checks that it admits
// this client (*VersionError). An existing record is never changed.
func (t *Table) EnsureVersion(ctx context.Context) error {
	record, err := t.readVersion(ctx, false)
	if err != nil {
		return err
	}
	if record != nil {
		return record.Admits()
	}
	_, err = t.api.PutItem(ctx, &dynamodb.PutItemInput{
		TableName:           t.tableN,
		Item:                t.newVersionItem(),
		ConditionExpression: aws.String("attribute_not_exists(PK)"),
	})
	if _, raced := errors.AsType[*types.ConditionalCheckFailedException](err); raced {
		if record, err = t.readVersion(ctx, true); err != nil || record == nil {
			return err
		}
		return record.Admits()
	}
	if err != nil {
		return fmt.Errorf("write version record: %w", mapPermission(err))
	}
	return nil
}

// newVersionItem records no Lambda version: that of a stack which deployed none. Features that
// depend on the release of those functions stay closed until somebody records one.
func (t *Table) newVersionItem() item {
	it := systemItem(skVersion)
	it["schema_version"] = str(SchemaVersion)
	it["client_min_version"] = str("0.0.0")
	it["lambda_version"] = null()
	it["updated_at"] = str(isoTime(t.clock()))
	it["updated_by"] = null()
	if t.opts.UpdatedBy != "" {
		it["updated_by"] = str(t.opts.UpdatedBy)
	}
	return it
}

// Version reads the version record; nil when the table has none.
func (t *Table) Version(ctx context.Context) (*VersionRecord, error) { return t.readVersion(ctx, true) }

func (t *Table) readVersion(ctx context.Context, consistent bool) (*VersionRecord, error) {
	it, err := t.getItem(ctx, systemPK(systemNamespace), skVersion, consistent)
	if err != nil {
		return nil, fmt.Errorf("read version record: %w", mapPermission(err))
	}
	if it == nil {
		return nil, nil
	}
	return &VersionRecord{
		SchemaVersion: stringOf(it, "schema_version"), ClientMinVersion: stringOf(it, "client_min_version"),
		LambdaVersion: stringOf(it, "lambda_version"), UpdatedAt: stringOf(it, "updated_at"), UpdatedBy: stringOf(it, "updated_by"),
	}, nil
}

// getItem reads one item; nil when it is absent.
func (t *Table) getItem(ctx context.Context, pk, sk string, consistent bool) (item, error) {
	in := &dynamodb.GetItemInput{TableName: t.tableN, Key: key(pk, sk)}
	if consistent {
		in.ConsistentRead = aws.Bool(true)
	}
	out, err := t.api.GetItem(ctx, in)
	if err != nil {
		return nil, err
	}
	return out.Item, nil
}

// systemItem starts an item of the namespace that describes namespaces and versions.
func systemItem(sk string) item {
	pk := systemPK(systemNamespace)
	return item{
		attrPK: str(pk), attrSK: str(sk),
		"GSI4PK": str(systemNamespace), "GSI4SK": str(pk),
	}
}

// version is a parsed release number; pre is the pre-release part ("rc1", "dev"), "" for a release.
type version struct {
	major, minor, patch int
	pre                 string
}

// compareRelease orders by the numbers alone; compare puts a pre-release before its release.
func (v version) compareRelease(o version) int {
	return cmp.Or(cmp.Compare(v.major, o.major), cmp.Compare(v.minor, o.minor), cmp.Compare(v.patch, o.patch))
}

func (v version) compare(o version) int {
	if c := v.compareRelease(o); c != 0 || v.pre == o.pre {
		return c
	}
	switch {
	case v.pre == "":
		return 1
	case o.pre == "":
		return -1
	}
	return cmp.Compare(v.pre, o.pre)
}

var versionPattern = regexp.MustCompile(`^v?(\d+)\.(\d+)(?:\.(\d+)(?:(a|b|rc)(\d+))?)?(?:\.(dev)\d*)?(?:\+.*)?$`)

// parseVersion reads major.minor[.patch] with an optional leading v and the pre-release suffixes
// that Python releases carry; a local part after '+' is dropped.
func parseVersion(s string) (version, error) {
	m := versionPattern.FindStringSubmatch(s)
	if m == nil {
		return version{}, fmt.Errorf("not a version: %q", s)
	}
	var v version
	for i, field := range []*int{&v.major, &v.minor, &v.patch} {
		if m[i+1] == "" {
			continue
		}
		n, err := strconv.Atoi(m[i+1])
		if err != nil {
			return version{}, fmt.Errorf("version %q: %w", s, err)
		}
		*field = n
	}
	v.pre = m[4] + m[5]
	if m[6] != "" {
		if v.pre != "" {
			v.pre += "-"
		}
		v.pre += "dev"
	}
	return v, nil
}
