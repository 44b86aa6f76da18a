package dynamolocal_test

import (
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/zeroae/zae-limiter-go/dynamolocal"
)

// The model of an item: numbers are int, strings string, sets map[string]bool, lists []any, maps
// object. Values are never changed in place.
type model = map[string]any

// encode writes a value of the model as the service does.
func encode(v any) object {
	switch v := v.(type) {
	case int:
		return object{"N": strconv.Itoa(v)}
	case string:
		return object{"S": v}
	case map[string]bool:
		return object{"SS": slices.Sorted(maps.Keys(v))}
	case []any:
		list := make([]any, len(v))
		for i := range v {
			list[i] = encode(v[i])
		}
		return object{"L": list}
	}
	entries := object{}
	for name, v := range v.(model) {
		entries[name] = encode(v)
	}
	return object{"M": entries}
}

// decode is the reverse of encode, of a decoded reply.
func decode(t *rapid.T, v any) any {
	for kind, v := range v.(object) {
		switch kind {
		case "N":
			n, err := strconv.Atoi(v.(string))
			if err != nil {
				t.Fatal(err)
			}
			return n
		case "SS":
			set := map[string]bool{}
			for _, member := range v.([]any) {
				set[member.(string)] = true
			}
			return set
		case "L":
			list := []any{}
			for _, element := range v.([]any) {
				list = append(list, decode(t, element))
			}
			return list
		case "M":
			entries := model{}
			for name, v := range v.(object) {
				entries[name] = decode(t, v)
			}
			return entries
		default:
			return v
		}
	}
	t.Fatal("an empty value")
	return nil
}

func drawSet(t *rapid.T) map[string]bool {
	set := map[string]bool{}
	for _, member := range rapid.SliceOfN(rapid.SampledFrom([]string{"r", "s", "t"}), 1, 3).Draw(t, "set") {
		set[member] = true
	}
	return set
}

func drawValue(t *rapid.T) any { return drawKind(t, rapid.IntRange(0, 4).Draw(t, "kind")) }

func drawKind(t *rapid.T, kind int) any {
	switch kind {
	case 0:
		return rapid.SampledFrom([]string{"", "text"}).Draw(t, "S")
	case 1:
		return drawSet(t)
	case 2:
		list := []any{}
		for range rapid.IntRange(0, 3).Draw(t, "L") {
			list = append(list, rapid.IntRange(0, 9).Draw(t, "element"))
		}
		return list
	case 3:
		return model{"k": rapid.IntRange(0, 9).Draw(t, "k"), "l": "x"}
	}
	return rapid.IntRange(-5, 5).Draw(t, "N")
}

// update builds an expression action by action, and what it makes of an item.
type update struct {
	sections map[string][]string
	values   object
	old, new model
	refused  bool
}

func (u *update) value(v any) string {
	name := ":v" + strconv.Itoa(len(u.values))
	u.values[name] = encode(v)
	return name
}

// set assigns a value, or refuses the update when there is none.
func (u *update) set(name, text string, v any) {
	u.sections["SET"] = append(u.sections["SET"], name+" = "+text)
	if v == nil {
		u.refused = true
		return
	}
	u.new[name] = v
}

func (u *update) setAction(t *rapid.T, x, y string) {
	kind := rapid.IntRange(0, 4).Draw(t, "SET")
	if fitting := map[int]string{2: "e", 4: "c"}[kind]; fitting != "" && rapid.Bool().Draw(t, "fits") {
		y = fitting
	}
	from, has := u.old[y]
	switch kind {
	case 0:
		v := drawValue(t)
		u.set(x, u.value(v), v)
	case 1:
		u.set(x, y, from)
	case 2:
		n := rapid.IntRange(-5, 5).Draw(t, "operand")
		var sum any
		if a, ok := from.(int); ok {
			sum = a - n
		}
		u.set(x, y+" - "+u.value(n), sum)
	case 3:
		v := drawValue(t)
		text := "if_not_exists(" + y + ", " + u.value(v) + ")"
		if has {
			v = from
		}
		u.set(x, text, v)
	default:
		more := []any{7, 8}
		var joined any
		if list, ok := from.([]any); ok {
			joined = slices.Concat(more, list)
		}
		u.set(x, "list_append("+u.value(more)+", "+y+")", joined)
	}
}

// nested sets or removes an element of a list or an entry of a map.
func (u *update) nested(t *rapid.T, x string) {
	remove := rapid.Bool().Draw(t, "remove")
	index := rapid.IntRange(-1, 3).Draw(t, "index") // -1: an entry named k
	switch u.old[x].(type) {                        // mostly what fits
	case []any:
		index = max(index, rapid.IntRange(-1, 0).Draw(t, "least"))
	case model:
		index = min(index, rapid.IntRange(-1, 0).Draw(t, "most"))
	}
	path := x + "[" + strconv.Itoa(index) + "]"
	if index < 0 {
		path = x + ".k"
	}
	if remove {
		u.sections["REMOVE"] = append(u.sections["REMOVE"], path)
	} else {
		u.sections["SET"] = append(u.sections["SET"], path+" = "+u.value(42))
	}
	list, isList := u.old[x].([]any)
	entries, isMap := u.old[x].(model)
	switch {
	case index >= 0 && isList && remove:
		if index < len(list) {
			u.new[x] = slices.Delete(slices.Clone(list), index, index+1)
		}
	case index >= 0 && isList && index < len(list):
		list = slices.Clone(list)
		list[index] = 42
		u.new[x] = list
	case index >= 0 && isList:
		u.new[x] = append(slices.Clone(list), 42)
	case index < 0 && isMap:
		entries = maps.Clone(entries)
		if entries["k"] = 42; remove {
			delete(entries, "k")
		}
		u.new[x] = entries
	default:
		u.refused = true
	}
}

func (u *update) add(t *rapid.T, x string) {
	if rapid.Bool().Draw(t, "number") {
		n := rapid.IntRange(-5, 5).Draw(t, "added")
		u.sections["ADD"] = append(u.sections["ADD"], x+" "+u.value(n))
		if have, ok := u.old[x].(int); ok || u.old[x] == nil {
			u.new[x] = have + n
		} else {
			u.refused = true
		}
		return
	}
	set := drawSet(t)
	u.sections["ADD"] = append(u.sections["ADD"], x+" "+u.value(set))
	if have, ok := u.old[x].(map[string]bool); ok || u.old[x] == nil {
		union := maps.Clone(set)
		maps.Copy(union, have)
		u.new[x] = union
	} else {
		u.refused = true
	}
}

func (u *update) remove(t *rapid.T, x string) {
	set := drawSet(t)
	u.sections["DELETE"] = append(u.sections["DELETE"], x+" "+u.value(set))
	have, ok := u.old[x].(map[string]bool)
	switch {
	case u.old[x] == nil:
	case !ok:
		u.refused = true
	default:
		rest := maps.Clone(have)
		for member := range set {
			delete(rest, member)
		}
		if u.new[x] = rest; len(rest) == 0 {
			delete(u.new, x)
		}
	}
}

// Every update expression does to an item what it does to the model, or is refused and does nothing.
func TestUpdatesAgreeWithAModel(t *testing.T) {
	names := []string{"a", "b", "c", "d", "e"}
	rapid.Check(t, func(t *rapid.T) {
		e, err := dynamolocal.New(dynamolocal.Config{})
		if err != nil {
			t.Fatal(err)
		}
		defer e.Close()
		ask(t, e, "CreateTable", object{"TableName": "tab", "BillingMode": "PAY_PER_REQUEST",
			"KeySchema": []object{{"AttributeName": "id", "KeyType": "HASH"}}, "AttributeDefinitions": []object{{"AttributeName": "id", "AttributeType": "S"}}})
		key := object{"id": object{"S": "x"}}
		item := model{"id": "x"}
		for i, name := range names {
			if rapid.IntRange(0, 3).Draw(t, "has "+name) > 0 {
				item[name] = drawKind(t, i) // mostly refused otherwise
			}
		}
		ask(t, e, "PutItem", object{"TableName": "tab", "Item": encode(item)["M"]})
		for range rapid.IntRange(1, 6).Draw(t, "updates") {
			u := update{sections: map[string][]string{}, values: object{}, old: item, new: maps.Clone(item)}
			for _, x := range rapid.SliceOfNDistinct(rapid.SampledFrom(names), 1, 3, rapid.ID).Draw(t, "targets") {
				switch rapid.IntRange(0, 7).Draw(t, "section") {
				case 0, 1:
					u.setAction(t, x, rapid.SampledFrom(names).Draw(t, "source"))
				case 2, 3, 4:
					u.nested(t, x)
				case 5:
					u.add(t, x)
				case 6:
					u.remove(t, x)
				default:
					u.sections["REMOVE"] = append(u.sections["REMOVE"], x)
					delete(u.new, x)
				}
			}
			var text strings.Builder
			for section, actions := range u.sections {
				fmt.Fprintf(&text, "%s %s ", section, strings.Join(actions, ", "))
			}
			request := object{"TableName": "tab", "Key": key, "UpdateExpression": text.String(), "ReturnValues": "ALL_NEW"}
			if len(u.values) > 0 {
				request["ExpressionAttributeValues"] = u.values
			}
			reply := ask(t, e, "UpdateItem", request)
			if refused := reply["__type"] != nil; refused != u.refused {
				t.Fatalf("%s on %v: %v, want it refused: %v", text.String(), item, reply, u.refused)
			}
			if !u.refused {
				item = u.new
				if got := decode(t, object{"M": reply["Attributes"]}); fmt.Sprint(got) != fmt.Sprint(item) {
					t.Fatalf("%s returns\n%v\nwant\n%v", text.String(), got, item)
				}
			}
			stored := ask(t, e, "GetItem", object{"TableName": "tab", "Key": key})["Item"]
			if got := decode(t, object{"M": stored}); fmt.Sprint(got) != fmt.Sprint(item) {
				t.Fatalf("%s leaves\n%v\nwant\n%v", text.String(), got, item)
			}
		}
	})
}
