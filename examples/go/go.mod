module shop

go 1.26.0

require spoor/sdk/go v0.0.0

replace spoor/sdk/go => ../../sdk/go
