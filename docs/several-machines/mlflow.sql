create database mlflow owner thriftune;
