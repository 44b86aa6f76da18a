package dynamostore

import (
	"cmp"
	"context"
	"crypto/rand"
	"encoding/base64"
	"errors"
	"fmt"
	"strings"
	"time"
	"unicode"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"
)

// States of a namespace, as its records spell them.
const (
	namespaceActive  = "active"
	namespaceDeleted = "deleted"
	namespacePurging = "purging"
)

// maxNamespaceName keeps the record's sort key well below DynamoDB's bound of 1024 bytes.
const maxNamespaceName = 256

// NamespaceStateError says that an operation does not apply to a namespace in that state.
type NamespaceStateError struct {
	Namespace string // name or id, whichever the call was given
	State     string
}

func (e *NamespaceStateError) Error() string {
	return fmt.Sprintf("namespace %s is %s", e.Namespace, e.State)
}

// NamespaceNotFoundError says that the table has no such namespace.
type NamespaceNotFoundError struct {
	Name string // "" when it was asked for by its id
	ID   string
}

func (e *NamespaceNotFoundError) Error() string {
	if e.Name == "" {
		return fmt.Sprintf("no namespace has the id %s", e.ID)
	}
	return fmt.Sprintf("namespace %s is not registered", e.Name)
}

// checkNamespaceName accepts what can stand in a key: the names themselves follow no pattern.
func checkNamespaceName(name string) error {
	reason := ""
	switch {
	case name == "":
		reason = "must not be empty"
	case len(name) > maxNamespaceName:
		reason = fmt.Sprintf("must not be longer than %d bytes", maxNamespaceName)
	case strings.ContainsRune(name, '#'):
		reason = "must not contain '#'"
	case name == systemNamespace:
		reason = "is reserved"
	case strings.ContainsFunc(name, func(r rune) bool { return unicode.IsControl(r) || r == unicode.ReplacementChar }):
		reason = "must be printable text"
	}
	if reason != "" {
		return invalid("namespace", name, reason)
	}
	return nil
}

// checkNamespaceID accepts what can be the first part of a key.
func checkNamespaceID(id string) error {
	if id == "" || id == systemNamespace || strings.ContainsAny(id, "/#") {
		return invalid("namespace id", id, "must be the id of a namespace")
	}
	return nil
}

// newNamespaceID returns 8 random bytes as 11 characters that do not start with '-', so that an id
// can stand on a command line.
func newNamespaceID() string {
	var b [8]byte
	for {
		rand.Read(b[:])
		if id := base64.RawURLEncoding.EncodeToString(b[:]); id[0] != '-' {
			return id
		}
	}
}

// RegisterNamespace creates the namespace and returns its id; one that exists already keeps its id.
func (t *Table) RegisterNamespace(ctx context.Context, name string) (id string, err error) {
	if err := checkNamespaceName(name); err != nil {
		return "", err
	}
	// A second attempt is needed only when the random id was taken, or the name was deleted between
	// the refused write and the read.
	for range 3 {
		id := newNamespaceID()
		err := t.putNamespace(ctx, name, id)
		if err == nil {
			return id, nil
		}
		if _, taken := errors.AsType[*types.TransactionCanceledException](err); !taken || IsThrottle(err) {
			return "", fmt.Errorf("register namespace %s: %w", name, mapPermission(err))
		}
		if id, ok, err := t.resolveNamespace(ctx, name, true); err != nil || ok {
			return id, err
		}
	}
	return "", fmt.Errorf("register namespace %s: its records keep changing", name)
}

func (t *Table) putNamespace(ctx context.Context, name, id string) error {
	created := isoTime(t.clock())
	record := func(sk string) types.TransactWriteItem {
		it := systemItem(sk)
		it["namespace_id"], it["namespace_name"] = str(id), str(name)
		it["status"], it["created_at"] = str(namespaceActive), str(created)
		return types.TransactWriteItem{Put: &types.Put{
			TableName: t.tableN, Item: it, ConditionExpression: aws.String("attribute_not_exists(PK)"),
		}}
	}
	_, err := t.api.TransactWriteItems(ctx, &dynamodb.TransactWriteItemsInput{
		TransactItems: []types.TransactWriteItem{record(skNamespacePrefix + name), record(skNamespaceIDPrefix + id)},
	})
	return err
}

// ResolveNamespace returns the id of an active namespace; ok is false when there is none of that
// name.
func (t *Table) ResolveNamespace(ctx context.Context, name string) (id string, ok bool, err error) {
	if err := checkNamespaceName(name); err != nil {
		return "", false, err
	}
	return t.resolveNamespace(ctx, name, false)
}

func (t *Table) resolveNamespace(ctx context.Context, name string, consistent bool) (string, bool, error) {
	it, err := t.getItem(ctx, systemPK(systemNamespace), skNamespacePrefix+name, consistent)
	if err != nil {
		return "", false, fmt.Errorf("resolve namespace %s: %w", name, mapPermission(err))
	}
	id := stringOf(it, "namespace_id")
	if status := stringOf(it, "status"); id == "" || (status != "" && status != namespaceActive) {
		return "", false, nil
	}
	return id, true, nil
}

// Namespace is what the table's records say about a namespace.
type Namespace struct {
	Name, ID  string
	State     string    // active, deleted or purging
	CreatedAt time.Time // zero when the record does not say
	DeletedAt time.Time // zero while active
}

func namespaceOf(it item) Namespace {
	created, _ := time.Parse(time.RFC3339, stringOf(it, "created_at"))
	deleted, _ := time.Parse(time.RFC3339, stringOf(it, "deleted_at"))
	return Namespace{
		Name: stringOf(it, "namespace_name"), ID: stringOf(it, "namespace_id"),
		State: cmp.Or(stringOf(it, "status"), namespaceActive), CreatedAt: created, DeletedAt: deleted,
	}
}

// Namespace returns the active namespace of that name, or a *NamespaceNotFoundError.
func (t *Table) Namespace(ctx context.Context, name string) (Namespace, error) {
	if err := checkNamespaceName(name); err != nil {
		return Namespace{}, err
	}
	it, err := t.getItem(ctx, systemPK(systemNamespace), skNamespacePrefix+name, false)
	if err != nil {
		return Namespace{}, fmt.Errorf("namespace %s: %w", name, mapPermission(err))
	}
	if ns := namespaceOf(it); ns.ID != "" && ns.State == namespaceActive {
		ns.Name = name
		return ns, nil
	}
	return Namespace{}, &NamespaceNotFoundError{Name: name}
}

// Namespaces lists the active namespaces whose name begins with a prefix, sorted by name.
func (t *Table) Namespaces(ctx context.Context, prefix string) ([]Namespace, error) {
	return t.listNamespaces(ctx, skNamespacePrefix, prefix, namespaceActive)
}

// OrphanedNamespaces lists the deleted namespaces, whose data is still there, sorted by id.
func (t *Table) OrphanedNamespaces(ctx context.Context) ([]Namespace, error) {
	return t.listNamespaces(ctx, skNamespaceIDPrefix, "", namespaceDeleted)
}

func (t *Table) listNamespaces(ctx context.Context, kind, prefix, state string) ([]Namespace, error) {
	items, err := t.queryAll(ctx, &dynamodb.QueryInput{
		KeyConditionExpression:    aws.String("PK = :pk AND begins_with(SK, :sk)"),
		ExpressionAttributeValues: item{":pk": str(systemPK(systemNamespace)), ":sk": str(kind + prefix)},
	})
	if err != nil {
		return nil, fmt.Errorf("list namespaces: %w", mapPermission(err))
	}
	var found []Namespace
	for _, it := range items {
		ns := namespaceOf(it)
		// The key says what a record is about, also where its attributes are incomplete.
		switch id := strings.TrimPrefix(stringOf(it, attrSK), kind); kind {
		case skNamespacePrefix:
			ns.Name = id
		default:
			ns.ID = id
		}
		if ns.State == state {
			found = append(found, ns)
		}
	}
	return found, nil
}

// RecoverNamespace gives a deleted namespace its name back and returns it. Errors:
// *NamespaceNotFoundError when the table has no record of the id, *NamespaceStateError when it is not
// deleted (active, purging), or its name belongs to another namespace by now (re-registered).
func (t *Table) RecoverNamespace(ctx context.Context, id string) (name string, err error) {
	if err := checkNamespaceID(id); err != nil {
		return "", err
	}
	pk := systemPK(systemNamespace)
	it, err := t.getItem(ctx, pk, skNamespaceIDPrefix+id, true)
	if err != nil {
		return "", fmt.Errorf("recover namespace %s: %w", id, mapPermission(err))
	}
	name = stringOf(it, "namespace_name")
	switch state := stringOf(it, "status"); {
	case it == nil:
		return "", &NamespaceNotFoundError{ID: id}
	case state != namespaceDeleted:
		return "", &NamespaceStateError{Namespace: name, State: cmp.Or(state, namespaceActive)}
	}
	if err := checkNamespaceName(name); err != nil {
		return "", err
	}
	forward := systemItem(skNamespacePrefix + name)
	forward["namespace_id"], forward["namespace_name"] = str(id), str(name)
	forward["status"], forward["created_at"] = str(namespaceActive), str(cmp.Or(stringOf(it, "created_at"), isoTime(t.clock())))
	err = retryConflicts(ctx, func() error {
		_, err := t.api.TransactWriteItems(ctx, &dynamodb.TransactWriteItemsInput{TransactItems: []types.TransactWriteItem{
			{Put: &types.Put{TableName: t.tableN, Item: forward, ConditionExpression: aws.String(conditionAbsent)}},
			{Update: &types.Update{
				TableName: t.tableN, Key: key(pk, skNamespaceIDPrefix+id),
				UpdateExpression:          aws.String("SET #s = :active REMOVE deleted_at"),
				ConditionExpression:       aws.String("#s = :deleted"),
				ExpressionAttributeNames:  map[string]string{"#s": "status"},
				ExpressionAttributeValues: item{":active": str(namespaceActive), ":deleted": str(namespaceDeleted)},
			}},
		}})
		return err
	})
	if cancelled, ok := errors.AsType[*types.TransactionCanceledException](err); ok && hasReason(cancelled, reasonConditionFailed) {
		return "", t.whyNotRecovered(ctx, id, name)
	}
	if err != nil {
		return "", fmt.Errorf("recover namespace %s: %w", id, mapPermission(err))
	}
	return name, nil
}

func (t *Table) whyNotRecovered(ctx context.Context, id, name string) error {
	now, taken, err := t.resolveNamespace(ctx, name, true)
	switch {
	case err != nil:
		return err
	case taken && now != id:
		return &NamespaceStateError{Namespace: name, State: "re-registered"}
	case taken:
		return &NamespaceStateError{Namespace: name, State: namespaceActive}
	}
	return &NamespaceStateError{Namespace: name, State: namespacePurging}
}

// Open returns the store of a namespace, which it registers when the table does not know the name, and
// writes the version record when there is none. *VersionError says that the table does not admit this
// client.
func (t *Table) Open(ctx context.Context, namespace string) (*Store, error) {
	id, ok, err := t.ResolveNamespace(ctx, namespace)
	if err == nil && !ok {
		id, err = t.RegisterNamespace(ctx, namespace)
	}
	if err != nil {
		return nil, err
	}
	if err := t.EnsureVersion(ctx); err != nil {
		return nil, err
	}
	return t.Store(id), nil
}

// Connect returns the store of a namespace that exists (*NamespaceNotFoundError) in a table that was set
// up before, and writes nothing. The table must have a version record (ErrNoVersionRecord) which admits
// this client and names no functions of an earlier release (*VersionError).
func (t *Table) Connect(ctx context.Context, namespace string) (*Store, error) {
	ns, err := t.Namespace(ctx, namespace)
	if err != nil {
		return nil, err
	}
	record, err := t.readVersion(ctx, false)
	if err != nil {
		return nil, err
	}
	if record == nil {
		return nil, fmt.Errorf("table %s: %w", t.name, ErrNoVersionRecord)
	}
	if err := record.Admits(); err != nil {
		return nil, err
	}
	if err := record.admitsFunctions(); err != nil {
		return nil, err
	}
	return t.Store(ns.ID), nil
}

// DeleteNamespace frees the name and marks the id as deleted. The data stays until the id is purged.
// Deleting a name that is not registered is no error.
func (t *Table) DeleteNamespace(ctx context.Context, name string) error {
	if err := checkNamespaceName(name); err != nil {
		return err
	}
	forward := key(systemPK(systemNamespace), skNamespacePrefix+name)
	it, err := t.getItem(ctx, systemPK(systemNamespace), skNamespacePrefix+name, true)
	if err != nil {
		return fmt.Errorf("delete namespace %s: %w", name, mapPermission(err))
	}
	id := stringOf(it, "namespace_id")
	if id == "" {
		return nil
	}
	_, err = t.api.TransactWriteItems(ctx, &dynamodb.TransactWriteItemsInput{TransactItems: []types.TransactWriteItem{
		{Delete: &types.Delete{
			TableName: t.tableN, Key: forward,
			ConditionExpression:       aws.String("namespace_id = :id"),
			ExpressionAttributeValues: item{":id": str(id)},
		}},
		{Update: t.markReverse(id, name, stringOf(it, "created_at"))},
	}})
	if _, raced := errors.AsType[*types.TransactionCanceledException](err); raced {
		// Somebody else deleted it, or deleted and registered it again: either way this one is gone.
		if now, ok, rerr := t.resolveNamespace(ctx, name, true); rerr == nil && (!ok || now != id) {
			return nil
		}
	}
	if err != nil {
		return fmt.Errorf("delete namespace %s: %w", name, mapPermission(err))
	}
	return nil
}

// markReverse marks the id's record as deleted. A record that was lost is written again, so that
// the data of the id can still be found and purged.
func (t *Table) markReverse(id, name, created string) *types.Update {
	pk := systemPK(systemNamespace)
	return &types.Update{
		TableName: t.tableN, Key: key(pk, skNamespaceIDPrefix+id),
		UpdateExpression: aws.String("SET #s = :deleted, deleted_at = :now, namespace_id = if_not_exists(namespace_id, :id), " +
			"namespace_name = if_not_exists(namespace_name, :name), created_at = if_not_exists(created_at, :created), " +
			"GSI4PK = if_not_exists(GSI4PK, :ns), GSI4SK = if_not_exists(GSI4SK, :pk)"),
		ExpressionAttributeNames: map[string]string{"#s": "status"},
		ExpressionAttributeValues: item{
			":deleted": str(namespaceDeleted), ":now": str(isoTime(t.clock())), ":id": str(id), ":name": str(name),
			":created": str(created), ":ns": str(systemNamespace), ":pk": str(pk),
		},
	}
}

// PurgeNamespace removes all data of a deleted namespace, then its record. It cannot be undone. An
// id without a record is no error; an active one is a *NamespaceStateError. Interrupted, it leaves
// the namespace in state purging, and can be called again.
func (t *Table) PurgeNamespace(ctx context.Context, id string) error {
	if err := checkNamespaceID(id); err != nil {
		return err
	}
	pk, sk := systemPK(systemNamespace), skNamespaceIDPrefix+id
	_, err := t.api.UpdateItem(ctx, &dynamodb.UpdateItemInput{
		TableName: t.tableN, Key: key(pk, sk),
		UpdateExpression:          aws.String("SET #s = :purging"),
		ConditionExpression:       aws.String("attribute_exists(PK) AND #s <> :active"),
		ExpressionAttributeNames:  map[string]string{"#s": "status"},
		ExpressionAttributeValues: item{":purging": str(namespacePurging), ":active": str(namespaceActive)},
	})
	if _, refused := errors.AsType[*types.ConditionalCheckFailedException](err); refused {
		return t.whyNotPurged(ctx, id)
	}
	if err != nil {
		return fmt.Errorf("purge namespace %s: %w", id, mapPermission(err))
	}
	if err := t.deleteNamespaceItems(ctx, id); err != nil {
		return fmt.Errorf("purge namespace %s: %w", id, mapPermission(err))
	}
	if _, err := t.api.DeleteItem(ctx, &dynamodb.DeleteItemInput{TableName: t.tableN, Key: key(pk, sk)}); err != nil {
		return fmt.Errorf("purge namespace %s: %w", id, mapPermission(err))
	}
	return nil
}

func (t *Table) whyNotPurged(ctx context.Context, id string) error {
	it, err := t.getItem(ctx, systemPK(systemNamespace), skNamespaceIDPrefix+id, true)
	if err != nil {
		return fmt.Errorf("purge namespace %s: %w", id, mapPermission(err))
	}
	if it == nil {
		return nil
	}
	return &NamespaceStateError{Namespace: id, State: stringOf(it, "status")}
}

// purgePatience is how long items may keep appearing while a namespace is removed: the index lags behind the
// table, and the aggregator, which writes the usage that it reads off the stream, behind both.
const purgePatience = time.Minute

func (t *Table) deleteNamespaceItems(ctx context.Context, id string) error {
	end := time.Now().Add(purgePatience)
	for wait := 10 * time.Millisecond; ; wait = min(2*wait, 2*time.Second) {
		removed := 0
		for page, err := range t.query(ctx, &dynamodb.QueryInput{
			IndexName:                 aws.String(indexNamespace),
			KeyConditionExpression:    aws.String("GSI4PK = :ns"),
			ExpressionAttributeValues: item{":ns": str(id)},
		}) {
			if err != nil {
				return err
			}
			if err := t.deleteAll(ctx, page); err != nil {
				return err
			}
			removed += len(page)
		}
		if removed == 0 {
			return nil
		}
		if time.Now().After(end) {
			return errors.New("items keep appearing: is a client still using the namespace?")
		}
		if err := pause(ctx, wait); err != nil {
			return err
		}
	}
}
