package dynamostore

import (
	"strconv"
	"strings"

	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"

	"github.com/zeroae/zae-limiter-go/limiter"
)

// Attribute names and constant sort keys of the table.
const (
	attrPK, attrSK = "PK", "SK"

	skMeta               = "#META"
	skState              = "#STATE"
	skConfig             = "#CONFIG"
	skResources          = "#RESOURCES"
	skEntityConfigs      = "#ENTITY_CONFIG_RESOURCES"
	skVersion            = "#VERSION"
	skNamespacePrefix    = "#NAMESPACE#"
	skNamespaceIDPrefix  = "#NSID#"
	skOperationPrefix    = "#OP#"
	skEntityConfigPrefix = "#CONFIG#"
	skAuditPrefix        = "#AUDIT#"
	skProvisioner        = "#PROVISIONER"
	skUsagePrefix        = "#USAGE#"

	// systemNamespace holds the records about namespaces and versions.
	systemNamespace = "_"
)

func entityPK(ns, entity string) string { return ns + "/ENTITY#" + entity }

func bucketPK(ns, entity, resource string, shard int) string {
	return ns + "/" + bucketGSI4SK(entity, resource, shard)
}

func bucketGSI4SK(entity, resource string, shard int) string {
	return "BUCKET#" + entity + "#" + resource + "#" + strconv.Itoa(shard)
}

func resourcePK(ns, resource string) string     { return ns + "/RESOURCE#" + resource }
func systemPK(ns string) string                 { return ns + "/SYSTEM#" }
func parentPK(ns, parent string) string         { return ns + "/PARENT#" + parent }
func auditPK(ns, subject string) string         { return ns + "/AUDIT#" + subject }
func entityConfigPK(ns, resource string) string { return ns + "/ENTITY_CONFIG#" + resource }

// parseBucketPK takes a bucket's partition key apart. The entity ends at the first '#', the shard
// starts after the last one, and the resource between them may hold '/' and ':'.
func parseBucketPK(ns, pk string) (limiter.BucketKey, bool) {
	rest, ok := strings.CutPrefix(pk, ns+"/BUCKET#")
	if !ok {
		return limiter.BucketKey{}, false
	}
	first, last := strings.IndexByte(rest, '#'), strings.LastIndexByte(rest, '#')
	if first <= 0 || last <= first+1 {
		return limiter.BucketKey{}, false
	}
	shard, err := strconv.Atoi(rest[last+1:])
	if err != nil || shard < 0 {
		return limiter.BucketKey{}, false
	}
	return limiter.BucketKey{EntityID: rest[:first], Resource: rest[first+1 : last], Shard: shard}, true
}

func key(pk, sk string) map[string]types.AttributeValue {
	return map[string]types.AttributeValue{attrPK: str(pk), attrSK: str(sk)}
}
