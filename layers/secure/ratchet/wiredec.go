package ratchet

import (
	"cmp"
	"fmt"
	"unicode/utf8"

	"google.golang.org/protobuf/encoding/protowire"
)

// mapEntry splits an entry of a protobuf map with text keys.
func mapEntry(b []byte) (key string, value []byte, err error) {
	err = fields(b, func(num protowire.Number, typ protowire.Type, v []byte, _ uint64) error {
		switch {
		case num == 1 && typ == protowire.BytesType:
			if !utf8.Valid(v) {
				return errNotUTF8
			}
			if len(v) > maxInstallation {
				return errTooLong
			}
			key = string(v)
		case num == 2 && typ == protowire.BytesType:
			value = v
		}
		return nil
	})
	return key, value, err
}

func decodeBundle(b []byte) (bundle, error) {
	var d bundle
	err := fields(b, func(num protowire.Number, typ protowire.Type, value []byte, number uint64) error {
		switch {
		case num == 1 && typ == protowire.BytesType:
			d.identity = value
			return limit("identity", value, maxKeyBytes)
		case num == 2 && typ == protowire.BytesType:
			e, err := decodeEntry(value)
			if err != nil {
				return fmt.Errorf("signed_pre_keys: %w", err)
			}
			d.prekeys = put(d.prekeys, e, func(a, b bundleEntry) int { return cmp.Compare(a.installation, b.installation) })
			if len(d.prekeys) > maxBundleEntries {
				return fmt.Errorf("signed_pre_keys: %w", errTooMany)
			}
		case num == 4 && typ == protowire.BytesType:
			d.signature = value
			return limit("signature", value, maxSignature)
		case num == 5 && typ == protowire.VarintType:
			d.timestamp = int64(number)
		}
		return nil
	})
	return d, err
}

func decodeEntry(b []byte) (bundleEntry, error) {
	key, value, err := mapEntry(b)
	if err != nil {
		return bundleEntry{}, err
	}
	e := bundleEntry{installation: key}
	err = fields(value, func(num protowire.Number, typ protowire.Type, v []byte, number uint64) error {
		switch {
		case num == 1 && typ == protowire.BytesType:
			e.prekey = v
			return limit("signed_pre_key", v, maxKeyBytes)
		case num == 2 && typ == protowire.VarintType:
			e.version = uint32(number)
		case num == 3 && typ == protowire.VarintType:
			e.protocolVersion = uint32(number)
		}
		return nil
	})
	return e, err
}

func decodeDirect(b []byte) (directMessage, error) {
	key, value, err := mapEntry(b)
	if err != nil {
		return directMessage{}, err
	}
	return decodeDirectValue(key, value)
}

func decodeDirectValue(target string, b []byte) (directMessage, error) {
	d := directMessage{target: target}
	err := fields(b, func(num protowire.Number, typ protowire.Type, value []byte, _ uint64) (err error) {
		if typ != protowire.BytesType {
			return nil
		}
		switch num {
		case 1:
			d.x3dh, err = decodeX3DHHeader(value)
		case 2:
			d.ratchet, err = decodeRatchetHeader(value)
		case 3:
			d.payload = value
		case 101:
			d.dh, err = decodeDHHeader(value)
		}
		return err
	})
	return d, err
}

func decodeX3DHHeader(b []byte) (*x3dhHeader, error) {
	h := new(x3dhHeader)
	return h, fields(b, func(num protowire.Number, typ protowire.Type, value []byte, _ uint64) error {
		switch {
		case num == 1 && typ == protowire.BytesType:
			h.ephemeral = value
			return limit("X3DH_header.key", value, maxKeyBytes)
		case num == 4 && typ == protowire.BytesType:
			h.prekey = value
			return limit("X3DH_header.id", value, maxKeyBytes)
		}
		return nil
	})
}

func decodeRatchetHeader(b []byte) (*ratchetHeader, error) {
	h := new(ratchetHeader)
	return h, fields(b, func(num protowire.Number, typ protowire.Type, value []byte, number uint64) error {
		switch {
		case num == 1 && typ == protowire.BytesType:
			h.key = value
			return limit("DR_header.key", value, maxKeyBytes)
		case num == 2 && typ == protowire.VarintType:
			h.n = uint32(number)
		case num == 3 && typ == protowire.VarintType:
			h.pn = uint32(number)
		case num == 4 && typ == protowire.BytesType:
			h.prekey = value
			return limit("DR_header.id", value, maxKeyBytes)
		}
		return nil
	})
}

func decodeDHHeader(b []byte) (*dhHeader, error) {
	h := new(dhHeader)
	return h, fields(b, func(num protowire.Number, typ protowire.Type, value []byte, _ uint64) error {
		if num == 1 && typ == protowire.BytesType {
			h.ephemeral = value
			return limit("DH_header.key", value, maxKeyBytes)
		}
		return nil
	})
}

func limit(field string, b []byte, most int) error {
	if len(b) > most {
		return fmt.Errorf("%s: %w", field, errTooLong)
	}
	return nil
}
