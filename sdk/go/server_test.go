package spoor

const childEnv = "SPOOR_SDK_TEST_CHILD"

func child() {}
