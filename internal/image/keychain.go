package image

import (
	"fmt"
	"os"

	"github.com/docker/cli/cli/config"
	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/name"
)

// authFile is a docker config.json at a place of the user's choice.
type authFile string

// Resolve looks the registry up under its repository and its host, in auths,
// credHelpers and credsStore. No entry means no credentials.
func (f authFile) Resolve(target authn.Resource) (authn.Authenticator, error) {
	r, err := os.Open(string(f))
	if err != nil {
		return nil, failf(ErrCredentials, "%w", err)
	}
	defer r.Close()
	cf, err := config.LoadFromReader(r)
	if err != nil {
		return nil, failf(ErrCredentials, "%s: %w", string(f), err)
	}
	for _, key := range []string{target.String(), target.RegistryStr()} {
		if key == name.DefaultRegistry {
			key = authn.DefaultAuthKey
		}
		c, err := cf.GetAuthConfig(key)
		if err != nil {
			return nil, failf(ErrCredentials, "%s for %s: %w", string(f), target.RegistryStr(), err)
		}
		found := authn.AuthConfig{
			Username: c.Username, Password: c.Password, Auth: c.Auth,
			IdentityToken: c.IdentityToken, RegistryToken: c.RegistryToken,
		}
		if found != (authn.AuthConfig{}) {
			return authn.FromConfig(found), nil
		}
	}
	return authn.Anonymous, nil
}

func (f authFile) String() string { return fmt.Sprintf("credentials in %s", string(f)) }
