package migrations

import "context"

// UpTo is Up as the release knew it whose last migration was that.
func (s *Schema) UpTo(ctx context.Context, version int64) error {
	_, err := s.provider.UpTo(ctx, version)
	return err
}
