package awsdeploy

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sort"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/ec2/types"
)

// EC2API is the part of EC2's client that is used.
type EC2API interface {
	DescribeVpcs(context.Context, *ec2.DescribeVpcsInput, ...func(*ec2.Options)) (*ec2.DescribeVpcsOutput, error)
	DescribeSubnets(context.Context, *ec2.DescribeSubnetsInput, ...func(*ec2.Options)) (*ec2.DescribeSubnetsOutput, error)
	DescribeRouteTables(context.Context, *ec2.DescribeRouteTablesInput, ...func(*ec2.Options)) (*ec2.DescribeRouteTablesOutput, error)
	DescribeVpcEndpoints(context.Context, *ec2.DescribeVpcEndpointsInput, ...func(*ec2.Options)) (*ec2.DescribeVpcEndpointsOutput, error)
}

// Place is a VPC or a subnet that can be chosen.
type Place struct {
	ID   string
	Zone string // availability zone; empty for a VPC
	Name string // of the tag Name; may be empty
}

// Label is how the place is shown in a list.
func (p *Place) Label() string {
	var details []string
	for _, d := range []string{p.Zone, p.Name} {
		if d != "" {
			details = append(details, d)
		}
	}
	if len(details) == 0 {
		return p.ID
	}
	return fmt.Sprintf("%s (%s)", p.ID, strings.Join(details, ", "))
}

// VPCs are those of the region, sorted by id.
func VPCs(ctx context.Context, api EC2API) ([]Place, error) {
	var places []Place
	pages := ec2.NewDescribeVpcsPaginator(api, &ec2.DescribeVpcsInput{})
	for pages.HasMorePages() {
		page, err := pages.NextPage(ctx)
		if err != nil {
			return nil, fmt.Errorf("describe VPCs: %w", err)
		}
		for i := range page.Vpcs {
			places = append(places, Place{ID: aws.ToString(page.Vpcs[i].VpcId), Name: nameTag(page.Vpcs[i].Tags)})
		}
	}
	sort.Slice(places, func(i, j int) bool { return places[i].ID < places[j].ID })
	return places, nil
}

// Subnets are those of a VPC, sorted by id.
func Subnets(ctx context.Context, api EC2API, vpc string) ([]Place, error) {
	var places []Place
	pages := ec2.NewDescribeSubnetsPaginator(api, &ec2.DescribeSubnetsInput{Filters: inVPC(vpc)})
	for pages.HasMorePages() {
		page, err := pages.NextPage(ctx)
		if err != nil {
			return nil, fmt.Errorf("describe subnets of %s: %w", vpc, err)
		}
		for i := range page.Subnets {
			s := &page.Subnets[i]
			places = append(places, Place{ID: aws.ToString(s.SubnetId), Zone: aws.ToString(s.AvailabilityZone), Name: nameTag(s.Tags)})
		}
	}
	sort.Slice(places, func(i, j int) bool { return places[i].ID < places[j].ID })
	return places, nil
}

func inVPC(vpc string) []types.Filter {
	return []types.Filter{{Name: aws.String("vpc-id"), Values: []string{vpc}}}
}

func nameTag(tags []types.Tag) string {
	for _, t := range tags {
		if aws.ToString(t.Key) == "Name" {
			return aws.ToString(t.Value)
		}
	}
	return ""
}

// ErrSubnets says that the subnets that were chosen cannot be used.
var ErrSubnets = errors.New("subnets")

// CheckSubnets refuses subnets that are not in the VPC, and subnets that are all in one zone.
func CheckSubnets(vpc string, chosen []string, available []Place) error {
	var unknown, zones []string
	for _, id := range chosen {
		i := slices.IndexFunc(available, func(p Place) bool { return p.ID == id })
		if i < 0 {
			unknown = append(unknown, id)
			continue
		}
		if !slices.Contains(zones, available[i].Zone) {
			zones = append(zones, available[i].Zone)
		}
	}
	if len(unknown) > 0 {
		return fmt.Errorf("%w: %s not in VPC %s", ErrSubnets, strings.Join(unknown, ", "), vpc)
	}
	if len(zones) < 2 {
		return fmt.Errorf("%w: %s are all in zone %s; choose at least 2 subnets in different zones", ErrSubnets, strings.Join(chosen, ", "), strings.Join(zones, ""))
	}
	return nil
}

// Routes are the route tables that apply to a set of subnets.
type Routes struct {
	// Tables are their ids, sorted: those of the subnets' associations, and the VPC's main table for
	// subnets that have none.
	Tables []string
	// WithoutWayOut are the subnets whose default route leads nowhere for a task without a public
	// address: there is none, or it goes to an internet gateway.
	WithoutWayOut []string
}

// FindRoutes reads the routes of subnets of a VPC.
func FindRoutes(ctx context.Context, api EC2API, vpc string, subnets []string) (*Routes, error) {
	var tables []types.RouteTable
	pages := ec2.NewDescribeRouteTablesPaginator(api, &ec2.DescribeRouteTablesInput{Filters: inVPC(vpc)})
	for pages.HasMorePages() {
		page, err := pages.NextPage(ctx)
		if err != nil {
			return nil, fmt.Errorf("describe route tables of %s: %w", vpc, err)
		}
		tables = append(tables, page.RouteTables...)
	}
	associated := func(match func(types.RouteTableAssociation) bool) *types.RouteTable {
		i := slices.IndexFunc(tables, func(t types.RouteTable) bool { return slices.ContainsFunc(t.Associations, match) })
		if i < 0 {
			return nil
		}
		return &tables[i]
	}
	routes := &Routes{}
	for _, subnet := range subnets {
		table := associated(func(a types.RouteTableAssociation) bool { return aws.ToString(a.SubnetId) == subnet })
		if table == nil {
			table = associated(func(a types.RouteTableAssociation) bool { return aws.ToBool(a.Main) })
		}
		if table == nil {
			return nil, fmt.Errorf("subnet %s has no route table, and VPC %s no main one", subnet, vpc)
		}
		routes.Tables = append(routes.Tables, aws.ToString(table.RouteTableId))
		if !leadsOut(table) {
			routes.WithoutWayOut = append(routes.WithoutWayOut, subnet)
		}
	}
	slices.Sort(routes.Tables)
	routes.Tables = slices.Compact(routes.Tables)
	return routes, nil
}

// leadsOut reports whether the default route goes to something other than an internet gateway, which
// needs a public address: a NAT gateway, an instance, another network.
func leadsOut(table *types.RouteTable) bool {
	return slices.ContainsFunc(table.Routes, func(r types.Route) bool {
		return aws.ToString(r.DestinationCidrBlock) == "0.0.0.0/0" && r.State != types.RouteStateBlackhole &&
			!strings.HasPrefix(aws.ToString(r.GatewayId), "igw-")
	})
}

// What --vpc-endpoints chooses.
const (
	EndpointsNone = "none"
	EndpointsSSM  = "ssm"
	EndpointsAll  = "all"
)

// EndpointChoice says which VPC endpoints a load test should have.
type EndpointChoice struct {
	Services string // EndpointsNone, EndpointsSSM or EndpointsAll
	// LegacySSM adds ssm and ec2messages to ssmmessages, as the original does.
	LegacySSM bool
	DynamoDB  bool
}

// EndpointPlan is the outcome: parameters of the template and what to tell about them.
type EndpointPlan struct {
	Parameters map[string]string
	Notes      []string
	// Reaches reports whether a task in a subnet without a way out gets at everything that it needs.
	Reaches bool
}

// interfaceEndpoint is one that the template can make.
type interfaceEndpoint struct{ service, parameter, resource string }

var (
	ssmMessages = interfaceEndpoint{"ssmmessages", "CreateSsmMessagesEndpoint", "SsmMessagesEndpoint"}
	ssmLegacy   = []interfaceEndpoint{{"ssm", "CreateSsmEndpoint", "SsmEndpoint"}, {"ec2messages", "CreateSsmEndpoint", "Ec2MessagesEndpoint"}}
	private     = []interfaceEndpoint{
		{"ecr.api", "CreateEcrApiEndpoint", "EcrApiEndpoint"}, {"ecr.dkr", "CreateEcrDkrEndpoint", "EcrDkrEndpoint"},
		{"logs", "CreateLogsEndpoint", "LogsEndpoint"}, {"lambda", "CreateLambdaEndpoint", "LambdaEndpoint"},
	}
)

// PlanEndpoints decides which endpoints the stack makes. Those that somebody else has made are used, as
// one VPC cannot have two with private names; own are the physical ids of the load test's resources by
// logical id, which do not count as somebody else's: a second deployment keeps them.
func PlanEndpoints(ctx context.Context, api EC2API, region, vpc string, tables []string, own map[string]string, choice EndpointChoice) (*EndpointPlan, error) {
	existing, err := foreignEndpoints(ctx, api, region, vpc, own)
	if err != nil {
		return nil, err
	}
	plan := &EndpointPlan{Parameters: map[string]string{
		"CreateSsmEndpoint": "false", ssmMessages.parameter: "false", "PrivateRouteTableIds": "", "S3RouteTableIds": "",
	}}
	for _, e := range private {
		plan.Parameters[e.parameter] = "false"
	}
	if choice.DynamoDB {
		plan.gateway("dynamodb", "PrivateRouteTableIds", tables, existing["dynamodb"])
	}
	legacy := choice.LegacySSM && !slices.ContainsFunc(append(slices.Clone(ssmLegacy), ssmMessages), func(e interfaceEndpoint) bool { return len(existing[e.service]) > 0 })
	switch {
	case legacy:
		plan.Parameters["CreateSsmEndpoint"] = "true"
		plan.note("endpoints ssm, ssmmessages and ec2messages are part of the stack")
	case choice.LegacySSM || choice.Services != EndpointsNone:
		plan.make(ssmMessages, existing)
	}
	if choice.Services == EndpointsAll {
		for _, e := range private {
			plan.make(e, existing)
		}
		plan.gateway("s3", "S3RouteTableIds", tables, existing["s3"])
	}
	plan.Reaches = plan.there(ssmMessages, existing) && (plan.Parameters["S3RouteTableIds"] != "" || len(existing["s3"]) > 0)
	for _, e := range private {
		plan.Reaches = plan.Reaches && plan.there(e, existing)
	}
	return plan, nil
}

func (p *EndpointPlan) note(format string, args ...any) {
	p.Notes = append(p.Notes, fmt.Sprintf(format, args...))
}

func (p *EndpointPlan) there(e interfaceEndpoint, existing map[string][]types.VpcEndpoint) bool {
	return p.Parameters[e.parameter] == "true" || len(existing[e.service]) > 0 || e == ssmMessages && p.Parameters["CreateSsmEndpoint"] == "true"
}

func (p *EndpointPlan) make(e interfaceEndpoint, existing map[string][]types.VpcEndpoint) {
	if found := existing[e.service]; len(found) > 0 {
		p.note("endpoint %s: the VPC has %s; its security groups must admit port 443 from the load test's", e.service, aws.ToString(found[0].VpcEndpointId))
		return
	}
	p.Parameters[e.parameter] = "true"
	p.note("endpoint %s is part of the stack", e.service)
}

// gateway leaves out the tables that an endpoint of somebody else serves: a table takes one for each
// service.
func (p *EndpointPlan) gateway(service, parameter string, tables []string, existing []types.VpcEndpoint) {
	var missing []string
	for _, table := range tables {
		i := slices.IndexFunc(existing, func(e types.VpcEndpoint) bool { return slices.Contains(e.RouteTableIds, table) })
		if i < 0 {
			missing = append(missing, table)
			continue
		}
		p.note("gateway endpoint of %s: route table %s has %s", service, table, aws.ToString(existing[i].VpcEndpointId))
	}
	if len(missing) > 0 {
		p.Parameters[parameter] = strings.Join(missing, ",")
		p.note("gateway endpoint of %s for route tables %s is part of the stack", service, strings.Join(missing, ", "))
	}
}

// foreignEndpoints are the endpoints of a VPC by the last part of the service's name, without those of the
// load test itself.
func foreignEndpoints(ctx context.Context, api EC2API, region, vpc string, own map[string]string) (map[string][]types.VpcEndpoint, error) {
	found := map[string][]types.VpcEndpoint{}
	pages := ec2.NewDescribeVpcEndpointsPaginator(api, &ec2.DescribeVpcEndpointsInput{Filters: inVPC(vpc)})
	for pages.HasMorePages() {
		page, err := pages.NextPage(ctx)
		if err != nil {
			return nil, fmt.Errorf("describe endpoints of %s: %w", vpc, err)
		}
		for _, e := range page.VpcEndpoints {
			_, service, ok := strings.Cut(aws.ToString(e.ServiceName), "."+region+".")
			if !ok || !lives(e.State) || isOwn(own, aws.ToString(e.VpcEndpointId)) {
				continue
			}
			found[service] = append(found[service], e)
		}
	}
	return found, nil
}

// lives reports whether an endpoint is there or about to be. Its state has two spellings.
func lives(state types.State) bool {
	switch strings.ToLower(string(state)) {
	case "available", "pending", "pendingacceptance":
		return true
	}
	return false
}

func isOwn(own map[string]string, id string) bool {
	for _, physical := range own {
		if physical == id {
			return true
		}
	}
	return false
}
