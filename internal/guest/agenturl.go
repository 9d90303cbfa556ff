package guest

import (
	"errors"
	"fmt"
	"net"
	"net/url"
	"strconv"
	"strings"
)

// defaultAgentPort is where a node agent listens when nobody says otherwise.
const defaultAgentPort = "9092"

// agentBase reads NODE_AGENT_BASE_URL in all its published spellings
// ("http://ip:9092", "http://ip:9092/v1", "http://ip:9092/v1/") and NODE_AGENT's
// ("host:port"). It returns scheme, host and port alone.
func agentBase(env []string) (string, error) {
	given := envMap(env)
	name, value := agentURLEnv, given[agentURLEnv]
	if value == "" {
		name, value = agentOldEnv, given[agentOldEnv]
	}
	if value == "" {
		return "", errors.New("this image needs a certificate and " + agentURLEnv + " is not set: start the container with -e " + agentURLEnv + "=http://HOST:" + defaultAgentPort)
	}
	base, err := normaliseAgent(value)
	if err != nil {
		return "", fmt.Errorf("%s is %q: %w; wanted for example http://172.17.0.1:%s", name, value, err, defaultAgentPort)
	}
	return base, nil
}

func normaliseAgent(value string) (string, error) {
	if !strings.Contains(value, "://") {
		value = "http://" + value
	}
	u, err := url.Parse(value)
	if err != nil {
		return "", errors.New("not a URL")
	}
	port := u.Port()
	if port == "" {
		port = defaultAgentPort
	}
	n, err := strconv.ParseUint(port, 10, 16)
	switch p := strings.Trim(u.Path, "/"); {
	case u.Scheme != "http":
		return "", errors.New("the scheme must be http: the agent is not trusted, and speaks plain HTTP")
	case u.Hostname() == "":
		return "", errors.New("no host")
	case err != nil || n == 0:
		return "", errors.New("bad port")
	case u.User != nil || u.RawQuery != "" || u.Fragment != "" || u.ForceQuery:
		return "", errors.New("user, query and fragment have no meaning here")
	case p != "" && p != "v1":
		return "", errors.New("the path must be empty or /v1")
	}
	return "http://" + net.JoinHostPort(u.Hostname(), port), nil
}
