from zoo.names import unknown


def test_the_nearest_name_comes_first_and_all_are_listed():
  text = str(unknown('model', 'cmn', ['mlp', 'cnn']))
  assert text == "unknown model 'cmn'; did you mean 'cnn'? there are: cnn, mlp"


def test_nothing_is_suggested_where_nothing_is_near():
  assert 'did you mean' not in str(unknown('model', 'zebra', ['cnn', 'mlp']))
