# Start via curl
curl -X POST http://localhost:8089/swarm -d "user_count=120&spawn_rate=10"

# Monitor
curl -s http://localhost:8089/stats/requests | python3 -c "
import json, sys
d = json.load(sys.stdin)
p = d.get('current_response_time_percentiles', {})
t = [s for s in d['stats'] if s['name'] == 'api'][0]
print(f'Users: {d[\"user_count\"]}, RPS: {t[\"current_rps\"]:.1f}')
print(f'p50: {p.get(\"response_time_percentile_0.5\")}ms')
print(f'p95: {p.get(\"response_time_percentile_0.95\")}ms')
"

# Stop
curl http://localhost:8089/stop
