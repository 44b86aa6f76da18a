package dynamostore

import (
	"encoding/base64"
	"encoding/json"
)

// encodeCursor makes a text of a page's last key: base64 of its JSON with the types of the service. All
// keys of the table are strings. The end is "".
func encodeCursor(last item) string {
	if len(last) == 0 {
		return ""
	}
	keys := make(map[string]map[string]string, len(last))
	for name := range last {
		keys[name] = map[string]string{"S": stringOf(last, name)}
	}
	text, _ := json.Marshal(keys) // strings always can be
	return base64.StdEncoding.EncodeToString(text)
}

func decodeCursor(cursor string) (item, error) {
	if cursor == "" {
		return nil, nil
	}
	text, err := base64.StdEncoding.DecodeString(cursor)
	var keys map[string]map[string]string
	if err == nil {
		err = json.Unmarshal(text, &keys)
	}
	if err != nil || len(keys) == 0 {
		return nil, invalid("cursor", cursor, "is not one that a list call returned")
	}
	start := make(item, len(keys))
	for name, value := range keys {
		start[name] = str(value["S"])
	}
	return start, nil
}
